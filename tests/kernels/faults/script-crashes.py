import csv, os

ROOT = "/kaggle/input/competitions/pets"
rows = list(csv.DictReader(open(f"{ROOT}/test.csv")))
print("read", len(rows), "rows", flush=True)

prices = [row["price"] for row in rows]

with open("submission.csv", "w", newline="") as out:
    table = csv.writer(out)
    table.writerow(["id", "kind", "score"])
    table.writerows([row["id"], "cat", 0.5] for row in rows)
