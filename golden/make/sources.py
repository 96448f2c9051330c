"""Makes golden/corpus/sources.json and golden/corpus/rows*.parquet.

What an independent reading finds in two real dumps: ElementTree for the XML, html.parser for the
posts' HTML, compared by a digest of the words of question and answer where a post holds paragraphs,
emphasis, links and plain lists alone (a list with numbers, an image or a table has more than one
reasonable text). No text of the dumps is written. The Parquet files hold three rows written for this
project: in the packings of `datasets`, pandas and polars, and as bytes that are not marked as text.

    /path/with/pyarrow/python golden/make/sources.py      # pyarrow for the Parquet files
    # real data from $MEDHARNESS_SHARED or ../shared/data
"""

import hashlib
import html.parser
import json
import os
import pathlib
import re
import xml.etree.ElementTree as ElementTree

import pyarrow
import pyarrow.parquet

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = pathlib.Path(os.environ.get("MEDHARNESS_SHARED", ROOT / "../shared/data")) / "training"
OUT = ROOT / "golden" / "corpus"
MIN_VOTES, MIN_SCORE = 5, 3
SIMPLE = {"p", "a", "em", "strong", "i", "b", "ul", "li", "br", "blockquote"}


class Words(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.text, self.tags = [], set()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        if tag in ("p", "li", "br", "blockquote"):
            self.text.append(" ")

    def handle_endtag(self, tag):
        if tag in ("p", "li", "blockquote"):
            self.text.append(" ")

    def handle_data(self, data):
        self.text.append(data)


def words(markup):
    parser = Words()
    parser.feed(markup)
    parser.close()
    return re.findall(r"\w+", "".join(parser.text)), parser.tags <= SIMPLE


def digest(items):
    return hashlib.sha256(" ".join(items).encode()).hexdigest()[:16]


def stack_exchange():
    posts = [row.attrib for row in ElementTree.parse(DATA / "stackexchange_coffee_Posts.xml").getroot()]
    questions = {post["Id"]: post for post in posts if post["PostTypeId"] == "1"}
    answers = [post for post in posts if post["PostTypeId"] == "2"]
    rows, low, orphans = {}, 0, 0
    for post in answers:
        if int(post["Score"]) < MIN_VOTES:
            low += 1
        elif post["ParentId"] not in questions:
            orphans += 1
        else:
            question = questions[post["ParentId"]]
            asked, simple = words(question["Body"])
            told, also = words(post["Body"])
            title = re.findall(r"\w+", question["Title"])
            rows[post["Id"]] = [digest(title + asked), digest(told)] if simple and also else None
    others = len(posts) - len(questions) - len(answers)
    return {"rows": len(rows), "low_score": low, "orphan": orphans, "other_post": others,
            "words": rows}


def mediqa():
    scores = [int(answer.attrib["ReferenceScore"]) for answer in
              ElementTree.parse(DATA / "mediqa2019_validation.xml").getroot().iter("Answer")]
    return {"answers": len(scores), "rows": sum(score >= MIN_SCORE for score in scores)}


rows = {
    "instruction": ["Answer this question truthfully", None, "Name it"],
    "input": ["What causes scurvy?", "Which vitamin is it?", None],
    "output": ["A lack of vitamin C.", "Ascorbic acid, 75–90 mg a day", None],
    "pages": [1, 2, 3],
}
table = pyarrow.table(rows)
pyarrow.parquet.write_table(table, OUT / "rows.parquet", compression="snappy")
for packing in ("gzip", "zstd"):
    pyarrow.parquet.write_table(table, OUT / f"rows-{packing}.parquet", compression=packing)
text = {"instruction", "input", "output"}
plain = pyarrow.schema([(name, pyarrow.binary() if name in text else pyarrow.int64())
                        for name in table.column_names])
pyarrow.parquet.write_table(table.cast(plain), OUT / "rows-bytes.parquet", compression="snappy",
                            store_schema=False)
# 24 MB of text in a file of a thousand bytes: what is read takes more than the file.
long = "The liver makes bile, and the kidney makes urine. " * 160
repeated = pyarrow.table({"instruction": ["Say it again."] * 3000, "input": [""] * 3000, "output": [long] * 3000})
pyarrow.parquet.write_table(repeated, OUT / "rows-repeated.parquet", compression="zstd")
found = {"stack_exchange": stack_exchange(), "mediqa": mediqa()}
(OUT / "sources.json").write_text(json.dumps(found, indent=1) + "\n")
print({**found["stack_exchange"], "words": sum(w is not None for w in found["stack_exchange"]["words"].values())}, found["mediqa"])
