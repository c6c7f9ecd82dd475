"""mdBook preprocessor: guides that are runbooks read like any other page.

Takes the front matter off, says how to run the page, leaves out what only a machine needs (probes, and steps of rehearsals alone), and leaves
only the language on the opening line of each block.
"""

import json
import re
import sys

FRONT = re.compile(r"\A---\n(runbook:.*?)\n---\n", re.S)
FENCE = re.compile(r"^(```+|~~~+)([a-z-]+)[ \t][^\n`]*$", re.M)
MACHINE = re.compile(r"^```(?:probe\b[^\n]*|[a-z]+ [^\n]*only=rehearse[^\n]*)\n.*?^```\n\n?", re.M | re.S)
HEADING = re.compile(r"^# .*\n", re.M)


def readable(chapter):
    front = FRONT.match(chapter["content"])
    if not front:
        return
    text = FENCE.sub(r"\1\2", MACHINE.sub("", chapter["content"][front.end() :]))
    note = f"\n> [!TIP]\n> This page runs as it is written: `lifeboat runbook run docs/{chapter['path']} --rehearse`\n"
    chapter["content"] = HEADING.sub(lambda found: found.group() + note, text, count=1)


def walk(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            readable(item["Chapter"])
            walk(item["Chapter"]["sub_items"])


if len(sys.argv) > 1 and sys.argv[1] == "supports":
    sys.exit(0)
_, book = json.load(sys.stdin)
walk(book.get("items") or book.get("sections"))
json.dump(book, sys.stdout)
