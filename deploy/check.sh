#!/usr/bin/env bash
# Checks the alerting rules, the dashboard and the systemd unit of this folder. It needs bash, python3 and promtool (of Prometheus);
# with DUOLOGUE_TEST_WITHOUT_PROMTOOL what promtool would check is skipped, and so is the unit where systemd-analyze is not installed.
# It ends with 1 and one sentence at the first mistake.
#
#   deploy/check.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

fail() {
    echo "deploy/check.sh: $1" >&2
    exit 1
}

command -v python3 >/dev/null || fail "python3 is needed, and is not installed."
promtool=yes
if [ -n "${DUOLOGUE_TEST_WITHOUT_PROMTOOL+set}" ]; then
    promtool=no
elif ! command -v promtool >/dev/null; then
    fail "promtool is needed, and is not installed: make promtool, or set DUOLOGUE_TEST_WITHOUT_PROMTOOL."
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# 1. The rules: their syntax and templates, then their tests. promtool says what is wrong, and where.
if [ "$promtool" = yes ]; then
    promtool check rules alerts.yaml >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; fail "alerts.yaml has a mistake: promtool names it above."; }
    promtool test rules alerts.test.yaml >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; fail "a test in alerts.test.yaml fails: promtool shows above what was expected and what came."; }
    echo "alerts.yaml: the rules are valid, and their tests pass."
else
    echo "Skipped without promtool: the rules, their tests and the PromQL of the dashboard are not checked."
fi

# 2. The dashboard: valid JSON, ids, places and data sources. Its expressions are written to a file of rules, for promtool.
python3 - grafana.json "$scratch/dashboard.json" <<'PYTHON' || fail "grafana.json has a mistake, which is named above."
import json
import sys

dashboard_path, rules_path = sys.argv[1:]


def wrong(what):
    print(f"grafana.json: {what}", file=sys.stderr)
    sys.exit(1)


def check(condition, what):
    if not condition:
        wrong(what)


try:
    with open(dashboard_path, encoding="utf-8") as file:
        dashboard = json.load(file)
except (OSError, ValueError) as error:
    wrong(f"it cannot be read as JSON: {error}")

variables = {variable["name"] for variable in dashboard["templating"]["list"]}
check({"datasource", "instance"} <= variables, "the variables datasource and instance are missing")

# A collapsed row contains its panels; those of an open one follow it.
panels = []
for panel in dashboard["panels"]:
    panels += [panel, *panel.get("panels", [])]


def name(panel):
    return f'the panel {panel.get("id")} "{panel.get("title")}"'


seen, rules = {}, []
for panel in panels:
    check(isinstance(panel.get("id"), int), f"{name(panel)} has no number as its id")
    check(panel["id"] not in seen, f"{name(panel)} has the same id as another one")
    seen[panel["id"]] = panel

    place = panel.get("gridPos", {})
    check(all(isinstance(place.get(key), int) for key in "xywh"), f"{name(panel)} has no complete gridPos")
    check(place["x"] >= 0 and place["y"] >= 0 and place["w"] > 0 and place["h"] > 0, f"{name(panel)} has an impossible gridPos")
    check(place["x"] + place["w"] <= 24, f"{name(panel)} is beyond the 24 columns")
    if panel["type"] == "row":
        continue

    check(panel.get("description"), f"{name(panel)} has no description")
    check(panel.get("targets"), f"{name(panel)} shows nothing")
    refs = [target["refId"] for target in panel["targets"]]
    check(len(refs) == len(set(refs)), f"{name(panel)} has two queries with the same refId")
    for part in (panel, *panel["targets"]):
        check(part.get("datasource", {}).get("uid") == "${datasource}", f"{name(panel)} does not use the variable datasource")
    for target in panel["targets"]:
        expression = target["expr"]
        check('instance=~"$instance"' in expression, f"{name(panel)} ignores the variable instance")
        for variable, value in (("$__rate_interval", "5m"), ("$__interval", "1m"), ("$__range", "1h"), ("$instance", ".*")):
            expression = expression.replace(variable, value)
        check("$" not in expression, f"{name(panel)} uses an unknown variable: {expression}")
        rules.append({"record": f"dashboard:panel_{panel['id']}_{target['refId']}", "expr": expression})

ordered = list(seen.values())
for index, first in enumerate(ordered):
    for second in ordered[index + 1:]:
        a, b = first["gridPos"], second["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        check(beside or above, f"{name(first)} and {name(second)} overlap")

# JSON is YAML too.
with open(rules_path, "w", encoding="utf-8") as file:
    json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, file, indent=1)
print(f"grafana.json: {len(panels)} panels with {len(rules)} queries, ids and places are in order.")
PYTHON

if [ "$promtool" = yes ]; then
    promtool check rules "$scratch/dashboard.json" >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; fail "a query in grafana.json is no PromQL: dashboard:panel_ID_REF above has the id of its panel."; }
    echo "grafana.json: the queries are valid PromQL."
fi

# 3. The names of the metrics are those of docs/reference/metrics.md, which a test compares with those of the program. A histogram adds to its name.
python3 - ../docs/reference/metrics.md alerts.yaml alerts.test.yaml grafana.json <<'PYTHON' || fail "a metric is used that the program does not have: see above."
import re
import sys

with open(sys.argv[1], encoding="utf-8") as file:
    known = set(re.findall(r"^\| `(\w+)", file.read(), re.MULTILINE))

unknown = False
for path in sys.argv[2:]:
    with open(path, encoding="utf-8") as file:
        used = set(re.findall(r"\bduologue_[a-z0-9_]+", file.read()))
    for name in sorted(used):
        if name not in known and re.sub(r"_(bucket|sum|count)$", "", name) not in known:
            print(f"{path}: {name} is not in docs/reference/metrics.md", file=sys.stderr)
            unknown = True
sys.exit(1 if unknown else 0)
PYTHON
echo "docs/reference/metrics.md has every metric of the rules and the dashboard."

# 4. The service may do no more than it needs: at most 2.0 of 10.
if command -v systemd-analyze >/dev/null && [[ $(systemd-analyze --help) == *--offline* ]]; then
    systemd-analyze security --offline=true --threshold=20 --no-pager duologue.service >"$scratch/log" 2>&1 ||
        { cat "$scratch/log" >&2; fail "duologue.service is exposed to more than 2.0, or has a mistake: systemd-analyze shows above what it may do."; }
    echo "duologue.service: its exposure is $(sed -n 's/.*service: \([0-9.]*\) .*/\1/p' "$scratch/log") of 10."
else
    echo "Skipped: systemd-analyze 250 or later is not installed, so duologue.service is not checked."
fi
