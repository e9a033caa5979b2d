# SPDX-License-Identifier: MIT
"""Rules against Python's re and jsonschema, as check_rules.sh has it: PEER RULES [SUITE]"""
import glob
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import warnings

import jsonschema

warnings.filterwarnings("ignore")


def spelled(value):
    """The one spelling that a rule gives a value."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, list):
        return "[" + ",".join(map(spelled, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(spelled(k) + ":" + spelled(v) for k, v in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False)


# ---- Random regular expressions, each with a way to draw a text ---------------------------------

LETTERS = "ab c01_-.\u00e9\u0416\U0001f600"
CLASSES = [
    (r"\d", "0123456789"), (r"\w", "aZ_9"), (r"\s", " \t\n"), (r"\D", "a\u00e9 "), (r"\W", "-\u0416 "),
    (r"\S", "ab\U0001f600"), (".", "a\u00e9\U0001f600"), ("[a-c]", "abc"), ("[^a-c]", "d\u00e9\n"),
    ("[\u00e0-\u0450x]", "\u00e9\u0416x"), (r"[\d_-]", "5_-"), ("[\U0001f600-\U0001f64f]", "\U0001f610"),
]


def literal(text):
    return "".join("\\" + c if c in r".*+?()[]{}|\^$-" else c for c in text)


# jsonschema takes \d and the like for all of Unicode, JSON Schema for ASCII.
ALIKE = [each for each in CLASSES if "\\" not in each[0]]


def regex(rng, depth, classes=CLASSES):
    kind = rng.randrange(2 if depth == 0 else 6)
    if kind == 0:
        text = "".join(rng.choice(LETTERS) for _ in range(rng.randrange(1, 4)))
        return literal(text), lambda: text
    if kind == 1:
        pattern, members = rng.choice(classes)
        return pattern, lambda: rng.choice(members)
    if kind in (2, 3):
        parts = [regex(rng, depth - 1, classes) for _ in range(rng.randrange(1, 4))]
        return "".join(p for p, _ in parts), lambda: "".join(draw() for _, draw in parts)
    if kind == 4:
        parts = [regex(rng, depth - 1, classes) for _ in range(rng.randrange(1, 4))]
        return ("(" + "|".join(p for p, _ in parts) + ")",
                lambda: rng.choice(parts)[1]())
    pattern, draw = regex(rng, depth - 1, classes)
    least = rng.randrange(3)
    most = least + rng.randrange(3)
    counts = {0: "*", 1: "+"}.get(least, "{2,}") if rng.randrange(3) == 0 else "{%d,%d}" % (least, most)
    if counts[0] != "{" or counts.endswith(",}"):
        most = least + 3
    return ("(?:" + pattern + ")" + counts,
            lambda: "".join(draw() for _ in range(rng.randint(least, most))))


# ---- Random schemas, each with a way to draw a value --------------------------------------------


def word(rng):
    return "".join(rng.choice("abcdeu\"\\\n\u00e9\U0001f600 ") for _ in range(rng.randrange(5)))


def number(rng):
    return rng.choice([rng.randrange(-50, 200), round(rng.uniform(-3, 9), rng.randrange(1, 4)),
                       rng.randrange(-10**6, 10**6)])


def schema(rng, depth):
    kind = rng.randrange(7 if depth == 0 else 10)
    if kind == 0:
        return {"type": "boolean"}, lambda: rng.random() < 0.5
    if kind == 1:
        values = [rng.choice([word(rng), number(rng), None, True, [word(rng)], {"k": 1}])
                  for _ in range(rng.randrange(1, 4))]
        unique = []
        for v in values:
            if not any(type(v) is type(u) and v == u for u in unique):
                unique.append(v)
        return {"enum": unique}, lambda: rng.choice(unique)
    if kind in (2, 3):
        out, low, high = {"type": "string"}, 0, 6
        if rng.randrange(2):
            low = out["minLength"] = rng.randrange(4)
        if rng.randrange(2):
            high = out["maxLength"] = low + rng.randrange(4)
        return out, lambda: "".join(rng.choice("az\"\\\n\u0001\u00e9\U0001f600")
                                    for _ in range(rng.randint(low, max(low, high))))
    if kind == 4:
        pattern, draw = regex(rng, 1, ALIKE)
        return {"type": "string", "pattern": "^" + pattern + "$"}, draw
    if kind in (5, 6):
        is_integer = kind == 5
        out = {"type": "integer" if is_integer else "number"}
        a, b = sorted([number(rng), number(rng)])
        if b - a < 2:
            b = a + 2
        low, high = -300, 300
        if rng.randrange(3):
            out[rng.choice(["minimum", "exclusiveMinimum"])] = low = a
        if rng.randrange(3):
            out[rng.choice(["maximum", "exclusiveMaximum"])] = high = b
        low, high = min(low, high - 2), max(high, low + 2)

        def draw_number():
            for _ in range(200):
                x = rng.randint(int(low) - 1, int(high) + 1)
                if not is_integer and rng.randrange(2):
                    x = round(rng.uniform(low, high), rng.randrange(1, 5))
                if x != 0 or not isinstance(x, float):
                    if jsonschema.Draft202012Validator(out).is_valid(x):
                        return x
            return None
        return out, draw_number
    if kind == 7:
        item, draw = schema(rng, depth - 1)
        least = rng.randrange(3)
        most = least + rng.randrange(3)
        return ({"type": "array", "items": item, "minItems": least, "maxItems": most},
                lambda: [draw() for _ in range(rng.randint(least, most))])
    if kind == 8:
        keys = rng.sample(["a", "b", "key", "\u00e9", "q\"", ""], rng.randrange(5))
        members = [(k, *schema(rng, depth - 1), rng.random() < 0.5) for k in keys]
        out = {"type": "object", "properties": {k: s for k, s, _, _ in members},
               "required": [k for k, _, _, must in members if must]}
        out["additionalProperties"] = rng.choice([False, {"type": "null"}])
        more = out["additionalProperties"] is not False

        def draw_object():
            value = {k: draw() for k, _, draw, must in members if must or rng.random() < 0.5}
            if more and rng.random() < 0.5:
                value.setdefault("other" + word(rng), None)
            return value
        return out, draw_object
    parts = [schema(rng, depth - 1) for _ in range(rng.randrange(1, 4))]
    return {"anyOf": [s for s, _ in parts]}, lambda: rng.choice(parts)[1]()


# ---- Checks -------------------------------------------------------------------------------------


class Peer:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, **line):
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "failed" in answer:
            sys.exit("check_rules: %s: %r" % (answer["failed"], line))
        return answer


class Late(Exception):
    pass


def on_alarm(*_):
    raise Late


def check_random(peer, n):
    counts = {"regex": [0, 0, 0], "schema": [0, 0, 0]}  # rules, texts that ended, too large
    late = 0
    signal.signal(signal.SIGALRM, on_alarm)
    for seed in range(n):
        rng = random.Random(seed)
        kind = ("regex", "schema")[seed % 2]
        if kind == "regex":
            rule, draw = regex(rng, 3)
            pattern = re.compile(rule, re.ASCII)
            texts = [draw() for _ in range(3)]
            texts = [t for t in texts if len(t.encode()) < 150]
            changed = [t[:i] + rng.choice(LETTERS) + t[i + 1:] for t in texts
                       for i in [rng.randrange(len(t) + 1)]]
            good = lambda text: pattern.fullmatch(text) is not None
        else:
            rule, draw = schema(rng, 3)
            validator = jsonschema.Draft202012Validator(rule)
            texts = [spelled(draw()) for _ in range(3)]
            texts = [t for t in texts if validator.is_valid(json.loads(t))]
            changed = []
            good = lambda text: validator.is_valid(json.loads(text))
        answer = peer.ask(kind=kind, rule=rule, texts=texts + changed, seed=seed)
        if "refused" in answer:
            if "too large" not in answer["refused"]:
                sys.exit("check_rules: refused: %s: %r" % (answer["refused"], rule))
            counts[kind][2] += 1
            continue
        counts[kind][0] += 1
        try:
            signal.alarm(5)
            for text, accepted in zip(texts + changed, answer["accepts"]):
                if accepted != good(text):
                    sys.exit("check_rules: %r: accepted is %s: %r" % (rule, accepted, text))
            if answer["written"] is not None:
                counts[kind][1] += 1
                if not good(answer["written"]):
                    sys.exit("check_rules: %r: was written: %r" % (rule, answer["written"]))
        except Late:
            late += 1
        finally:
            signal.alarm(0)
    for kind, (rules, ended, large) in counts.items():
        print("check_rules: %s: %d random rules, %d texts written to their end, all match; %d too "
              "large" % (kind, rules, ended, large))
    print("check_rules: %d rules took Python's matcher more than 5 s" % late)


def orders(value):
    """All orders of keys, some of them where there are many."""
    if isinstance(value, list):
        return map(list, itertools.product(*[list(itertools.islice(orders(v), 24)) for v in value]))
    if isinstance(value, dict):
        items = [[(k, w) for w in itertools.islice(orders(v), 24)] for k, v in value.items()]
        return (dict(one) for p in itertools.permutations(items) for one in itertools.product(*p))
    return iter([value])


def check_suite(peer, folder):
    agreed = {"valid": 0, "invalid": 0}
    narrower, wrong, refused, refused_cases, groups = {}, [], {}, 0, 0
    for path in sorted(glob.glob(os.path.join(folder, "tests", "draft2020-12", "*.json"))):
        with open(path) as file:
            for group in json.load(file):
                groups += 1
                texts, which = [], []
                for case in group["tests"]:
                    for value in itertools.islice(orders(case["data"]), 200):
                        texts.append(spelled(value))
                        which.append(case["description"])
                answer = peer.ask(kind="schema", rule=group["schema"], texts=texts, seed=1)
                if "refused" in answer:
                    why = answer["refused"]
                    keyword = re.search(r'keyword "([^"]*)"', why)
                    key = keyword.group(1) if keyword else re.sub(r".*?: (?=found|\$ref|no text|the rule)",
                                                                  "", why)[:60]
                    refused[key] = refused.get(key, 0) + 1
                    refused_cases += len(group["tests"])
                    continue
                for case in group["tests"]:
                    accepted = any(a for a, w in zip(answer["accepts"], which)
                                   if w == case["description"])
                    name = "%s: %s: %s" % (os.path.basename(path), group["description"],
                                           case["description"])
                    if accepted == case["valid"]:
                        agreed["valid" if accepted else "invalid"] += 1
                    elif accepted:
                        wrong.append(name)
                    else:
                        narrower[name] = case["data"]
    print("check_rules: JSON-Schema-Test-Suite, draft 2020-12, %d schemas: %d cases agree (%d valid, "
          "%d not), %d valid values are not written, %d invalid ones are; %d cases of %d schemas are "
          "refused" % (groups, sum(agreed.values()), agreed["valid"], agreed["invalid"],
                       len(narrower), len(wrong), refused_cases, sum(refused.values())))
    for name, value in narrower.items():
        print("  not written: %s: %s" % (name, json.dumps(value)[:60]))
    for key, n in sorted(refused.items(), key=lambda item: -item[1]):
        print("  refused: %3d  %s" % (n, key))
    if wrong:
        sys.exit("check_rules: invalid values that are accepted:\n  " + "\n  ".join(wrong))


def main():
    peer = Peer(sys.argv[1])
    check_random(peer, int(sys.argv[2]))
    if len(sys.argv) > 3:
        check_suite(peer, sys.argv[3])


main()
