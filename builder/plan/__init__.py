"""OOF + prices -> Plan. `blend` and `order` are pure arithmetic on arrays; `stage.plan` reads records and writes plan.json."""
