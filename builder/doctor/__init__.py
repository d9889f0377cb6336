"""kkb doctor: what this machine has and lacks, and the command that mends each thing. Looks; changes nothing."""
