"""SQLite files as applications make them, and what is to be said of each.

build DIR         writes the files; prints JSON: [{"file", "code", "says": [...], "pages": [...]}]
copy FROM TO      what the plain tool does: Connection.backup
hold FILE         opens FILE as an application would, says "open", answers each line that it reads with a result
"""

import json
import os
import random
import sqlite3
import struct
import sys

ROWS = 400


def reverse(left, right):
    return (right > left) - (right < left)


def prepared(connection):
    """What applications register, which no other process has."""
    connection.create_collation("own_order", reverse)
    connection.create_function("own_value", 1, lambda value: value * 3 if isinstance(value, (int, float)) else value, deterministic=True)
    return connection


class Corpus:
    def __init__(self, folder):
        self.folder = folder
        self.files = []

    def path(self, name):
        return os.path.join(self.folder, name)

    def add(self, name, code=0, says=()):
        self.files.append({"file": name, "code": code, "says": list(says)})
        return self.path(name)

    def make(self, name, sql, before="", code=0, says=(), rows=None, connection=None):
        path = self.add(name, code, says)
        connection = connection or prepared(sqlite3.connect(path, isolation_level=None))
        connection.execute("pragma synchronous = off")
        connection.executescript(before)
        connection.executescript(sql)
        if rows:
            connection.execute("begin")
            connection.executemany(*rows)
            connection.execute("commit")
        connection.close()
        return path


USUAL = f"""
create table t (id integer primary key, a text not null, b real, c blob);
create index t_a on t (a);
create unique index t_ab on t (a, b desc);
create table u (x primary key, y) without rowid;
create view v as select a from t;
create trigger tr after delete on t begin delete from u where x = old.a; end;
with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS})
insert into t select i, 'row ' || i, i * 0.5, randomblob(i % 90) from n;
insert into u select a, b from t where id % 3 = 0;
delete from t where id % 7 = 0;
"""

BIG = "create table big (a integer primary key, b blob); insert into big values (1, zeroblob(300000)), (2, randomblob(70000)), (3, randomblob(5000));"


def sound(corpus):
    make = corpus.make
    for mode in ["delete", "truncate", "persist", "wal", "memory", "off"]:
        make(f"journal-{mode}.db", USUAL, f"pragma journal_mode = {mode};")
    for size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]:
        make(f"pages-{size}.db", USUAL + BIG, f"pragma page_size = {size};")
    for size in [512, 65536]:
        make(f"pages-wal-{size}.db", USUAL, f"pragma page_size = {size}; pragma journal_mode = wal;")
    for encoding in ["UTF-8", "UTF-16le", "UTF-16be"]:
        make(f"encoding-{encoding}.db", USUAL + "insert into t (a) values ('\u00fc\u4e2d\U0001f6df');", f"pragma encoding = '{encoding}';")
    for vacuum in ["none", "full", "incremental"]:
        make(f"vacuum-{vacuum}.db", USUAL + BIG + "delete from big where a < 3;", f"pragma auto_vacuum = {vacuum};")
    make("vacuum-pages.db", USUAL + BIG, "pragma page_size = 512; pragma auto_vacuum = full;")
    make("zero-tables.db", "pragma user_version = 7; create table gone (a); drop table gone;")
    make("one-empty-table.db", "create table empty (a);")
    make("many-tables.db", "".join(f"create table t{i} (a, b); create index i{i} on t{i} (a);" for i in range(600)))
    make("wide.db", f"create table wide ({','.join(f'c{i}' for i in range(1500))}); insert into wide default values;")
    make("big.db", BIG)
    make("free-pages.db", USUAL + BIG + "drop table big;")
    make("strict.db", "create table s (a integer primary key, b text, c any, d blob) strict; insert into s values (1, 'x', 2.5, x'00');")
    make("generated.db", "create table g (a, b as (a * 2) stored, c as (a || 'x')); create index g_c on g (c); create index g_b on g (b) where a > 2; insert into g(a) values (1), (2), (3);")
    make("partial.db", USUAL + "create index part on t (b) where a like 'row 1%' and b > (3); create unique index part2 on t (id) where c is not null;")
    make("expressions.db", USUAL + "create index e1 on t (lower(a)); create index e2 on t (b + id); create index e3 on t (length(c), substr(a, 2));")
    make("collations.db", "create table c (a text collate nocase, b text collate rtrim); create index c_a on c (a); create index c_b on c (b, a collate binary); insert into c values ('A', 'x '), ('a', 'x'), ('B', 'y');")
    make("without-rowid.db", f"create table w (a, b, c, primary key (b desc, a)) without rowid; create index w_c on w (c); with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) insert into w select i, i % 10, 'x' || i from n;")
    make("foreign-keys.db", "create table p (a primary key); create table k (b references p); insert into p values (1); insert into k values (1), (null);")
    make("dangling.db", "create table p (a primary key); create table k (b references p); insert into k values (5);", says=["refers to a row of `p`"])
    make("names.db", 'create table "a b" (x); create table "quo""te" (x); create table "select" (x); create table "1" (x); create table "5" ("5" unique); create table "%like_" (x unique); create table "\u00fc\u4e2d" (x); create table "semi;colon" (x); create table "new\nline" (x); create table "[br]" (x); create index "in dex" on "a b" (x); create table r (rowid text, _rowid_ text, x unique); insert into r values (1, 2, 3);')
    make("sequence.db", "create table q (a integer primary key autoincrement, b unique); insert into q (b) values (1), (2); analyze;")
    make("math.db", "create table m (a); insert into m values (2.0), (4.0); create index m_a on m (abs(a)); create view mv as select pow(a, 2), log(a), sin(a) from m;")
    make("check-math.db", "create table m (a check (pow(a, 2) < 100 and ceil(a) >= a)); insert into m values (2), (3.5);")
    make("json.db", """create table j (a text check (json_valid(a))); create index j_b on j (a ->> '$.b'); insert into j values ('{"b": 1}'), ('{"b": "x"}');""")
    make("dates.db", "create table d (a text); create index d_a on d (strftime('%Y', a)); insert into d values ('2026-11-30');")
    make("fts3.db", "create virtual table f using fts3(a, b); insert into f values ('one two', 'three'), ('four', 'five');")
    make("fts4.db", "create virtual table f using fts4(a, tokenize=porter, prefix='2,3'); insert into f values ('running shoes'), ('walked');")
    make("fts4-unicode.db", "create virtual table f using fts4(a, tokenize=unicode61, notindexed=a); insert into f values ('\u00fcber');")
    make("fts5.db", "create virtual table f using fts5(a, b, tokenize='porter unicode61'); insert into f values ('one two', 'three'); delete from f; insert into f values ('x', 'y');")
    make("fts5-trigram.db", "create virtual table f using fts5(a, tokenize='trigram'); insert into f values ('lifeboat');")
    make("fts5-contentless.db", "create virtual table f using fts5(a, content=''); insert into f(rowid, a) values (1, 'lifeboat');")
    make("fts5-external.db", "create table d (id integer primary key, a); create virtual table f using fts5(a, content='d', content_rowid='id'); insert into d values (1, 'x'); insert into f(rowid, a) values (1, 'x');")
    make("rtree.db", f"create virtual table r using rtree(id, x0, x1, y0, y1, +note text); with recursive n(i) as (select 1 union all select i + 1 from n where i < {ROWS}) insert into r select i, i, i + 1, i, i + 2, 'n' || i from n;")
    make("dbstat.db", "create table t (a); create virtual table s using dbstat(main);")
    for reserved in [8, 32]:
        reserve(corpus, f"reserved-{reserved}.db", reserved)
    crashed(corpus)


def reserve(corpus, name, reserved, size=4096):
    """A file with room at the end of each page, as extensions for checksums and encryption have it."""
    path = corpus.path(name)
    page = bytearray(size)
    page[:16] = b"SQLite format 3\0"
    struct.pack_into(">HBBBBBB", page, 16, size, 1, 1, reserved, 64, 32, 32)
    struct.pack_into(">III", page, 24, 1, 1, 0)
    struct.pack_into(">I", page, 44, 4)
    struct.pack_into(">I", page, 56, 1)
    struct.pack_into(">II", page, 92, 1, 3040001)
    struct.pack_into(">BHHHB", page, 100, 13, 0, 0, size - reserved, 0)
    with open(path, "wb") as file:
        file.write(page)
    corpus.make(name, USUAL + BIG)
    assert open(path, "rb").read(21)[20] == reserved


def crashed(corpus):
    """A WAL and a journal that a crash has left."""
    for mode in ["wal", "delete"]:
        name = f"crashed-{mode}.db"
        path = corpus.add(name)
        child = os.fork()
        if child == 0:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.executescript(f"pragma synchronous = off; pragma journal_mode = {mode}; pragma wal_autocheckpoint = 0;" + USUAL)
            if mode == "wal":
                connection.execute("update t set b = 1")
            else:
                connection.executescript("pragma cache_size = 1; begin; update t set a = 'half done ' || id;")
            os._exit(0)
        os.waitpid(child, 0)


def complaints(corpus):
    make = corpus.make
    rows = [(str(i), f"x{i * 7 % ROWS}") for i in range(ROWS)]
    make("parent-not-unique.db", "create table p (id integer primary key, c text); create table k (c references p (c)); insert into p values (1, 'a'); insert into k values ('a');", says=["table `k`", "foreign key"])
    make("parent-missing-column.db", "create table p (id integer primary key); create table k (c references p (other)); insert into k values (1);", says=["table `k`", "foreign key"])
    make("own-collation.db", "create table t (a primary key collate own_order, b); create index i on t (b collate own_order);", rows=("insert into t values (?, ?)", rows), says=["table `t`", "`own_order`"])
    make("own-collation-keys.db", "create table t (a primary key collate own_order, b) without rowid; create index i on t (b);", rows=("insert into t values (?, ?)", rows), says=["table `t`", "`own_order`"])
    make("own-collation-utf16.db", "create table t (a collate own_order unique, b);", "pragma encoding = 'UTF-16le';", rows=("insert into t values (?, ?)", rows), says=["`own_order`"])
    path = corpus.path("own-nocase.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_collation("nocase", reverse)
    make("own-nocase.db", "create table t (a primary key collate nocase, b); create index i on t (b collate nocase);", rows=("insert into t values (?, ?)", rows), connection=connection, says=["table `t`"])
    make("own-function.db", "create table t (a, b as (own_value(a)) stored, c as (own_value(a)), check (own_value(a) is not 7)); create index i on t (own_value(a)); create index j on t (a) where own_value(a) > 30; create index k on t (c);", rows=("insert into t (a) values (?)", [(i,) for i in range(ROWS)]), says=["table `t`", "`own_value`"])
    path = corpus.path("own-lower.db")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.create_function("lower", 1, lambda text: "own " + text, deterministic=True)
    make("own-lower.db", "create table t (a, b); create index i on t (lower(a));", rows=("insert into t values (?, ?)", rows), connection=connection, says=["table `t`"])
    make("both-own.db", "create table a (x collate own_order unique); create table b (x check (own_value(x) > 0)); create table c (x not null unique); insert into a values (1); insert into b values (1); insert into c values (1);", says=["`own_order`", "`own_value`"])
    for name, ddl, bad in [
        ("not-null", "create table a (b not null)", "null"),
        ("check", "create table a (b check (b > 5))", "1"),
        ("strict", "create table a (b integer) strict", "'text'"),
        ("text", "create table a (b text)", "12"),
        ("integer", "create table a (b integer)", "'12'"),
    ]:
        make(f"older-than-{name}.db", f"create table a (b); insert into a values ({bad}); create table fine (x unique); insert into fine values (1); pragma writable_schema = on; update sqlite_master set sql = '{ddl}' where name = 'a';", says=["table `a`"])
    make("older-than-unique.db", "create table a (b); insert into a values (1), (1), (2); create index i on a (b); pragma writable_schema = on; update sqlite_master set sql = 'create unique index i on a (b)' where name = 'i';", says=["table `a`"])
    make("older-than-many.db", "create table a (b, c unique); insert into a select null, value from json_each('[1,2,3,4,5,6,7,8,9,10]') ; insert into a select null, i from (with recursive n(i) as (select 100 union all select i + 1 from n where i < 500) select i from n); pragma writable_schema = on; update sqlite_master set sql = 'create table a (b not null, c unique)' where name = 'a';", says=["table `a`"])
    make("fts4-out-of-step.db", "create table d (docid integer primary key, b); create virtual table f using fts4(content='d', b); insert into d values (1, 'hello'), (2, 'world'); insert into f(docid, b) select docid, b from d; update d set b = 'x';", says=["`f`", "rebuild"])
    make("fts3-out-of-step.db", "create virtual table f using fts3(b); insert into f values ('hello'); update f_content set c0b = 'other';", says=["`f`", "rebuild"])
    make("fts5-out-of-step.db", "create virtual table f using fts5(b); insert into f values ('hello world'); update f_content set c0 = 'other';", says=["`f`", "rebuild"])
    make("unknown-module.db", "create table t (a unique); insert into t values (1); pragma writable_schema = on; insert into sqlite_master values ('table', 'm', 'm', 0, 'create virtual table m using vec0(a)');")
    make("unknown-tokenizer.db", "create virtual table f using fts5(a); insert into f values ('x'); create table t (a unique); pragma writable_schema = on; update sqlite_master set sql = 'create virtual table f using fts5(a, tokenize=''own_tokens'')' where name = 'f';", says=["`f`"])
    make("unknown-tokenizer-fts4.db", "create virtual table f using fts4(a); insert into f values ('x'); pragma writable_schema = on; update sqlite_master set sql = 'create virtual table f using fts4(a, tokenize=icu)' where name = 'f';", says=["`f`"])
    make("missing-in-view.db", "create table t (a); create view v as select b from gone; create trigger tr after insert on t begin insert into gone values (1); end;")


def damaged(corpus):
    def source(name, before="", more=""):
        return corpus.make(name, USUAL + more, before, code=1)

    def root(path, name):
        connection = prepared(sqlite3.connect(path))
        found = connection.execute("select rootpage from sqlite_master where name = ?", (name,)).fetchone()[0]
        connection.close()
        return found

    def patch(path, page, at, content, size=4096):
        with open(path, "r+b") as file:
            file.seek((page - 1) * size + at)
            file.write(content)

    def read(path, page, size=4096):
        with open(path, "rb") as file:
            file.seek((page - 1) * size)
            return file.read(size)

    path = source("damaged-page.db")
    patch(path, root(path, "t"), 0, random.Random(1).randbytes(4096))
    path = source("damaged-zero.db")
    patch(path, root(path, "u"), 0, bytes(4096))
    path = source("damaged-type.db")
    patch(path, root(path, "t_a"), 0, b"\x0d")
    path = source("damaged-cells.db")
    patch(path, root(path, "t_ab"), 3, b"\xff\xff")
    path = source("damaged-pointer.db")
    leaf = struct.unpack(">I", read(path, root(path, "t"))[8:12])[0]
    patch(path, leaf, 8, b"\x00\x01")
    path = source("damaged-child.db")
    patch(path, root(path, "t"), 8, struct.pack(">I", 99999))
    path = source("damaged-twice.db")
    patch(path, root(path, "t"), 8, struct.pack(">I", root(path, "u")))
    path = source("damaged-freelist.db", more=BIG + "drop table big;")
    patch(path, 1, 36, struct.pack(">I", 3))
    path = source("damaged-trunk.db", more=BIG + "drop table big;")
    patch(path, struct.unpack(">I", read(path, 1)[32:36])[0], 4, struct.pack(">I", 5000))
    path = source("damaged-overflow.db", more=BIG)
    for page in range(2, os.path.getsize(path) // 4096 + 1):
        content = read(path, page)
        if content[:4] != bytes(4) and content[4:] == bytes(4092):
            patch(path, page, 0, bytes(4))
            break
    path = source("damaged-pointer-map.db", "pragma auto_vacuum = full;", BIG)
    patch(path, 2, 0, bytes(20))
    path = corpus.make("damaged-index-row.db", USUAL, code=1)
    lose_entry(path, "t", "t_a")
    path = corpus.make("damaged-unique-row.db", "create table t (a primary key, b); insert into t values ('aa', 1), ('bb', 2), ('cc', 3);", code=1)
    lose_entry(path, "t", "sqlite_autoindex_t_1")
    path = corpus.make("damaged-own-index.db", "create table t (a primary key collate own_order, b);", rows=("insert into t values (?, ?)", [(f"k{i}", i) for i in range(50)]), code=1)
    lose_entry(path, "t", "sqlite_autoindex_t_1")
    path = corpus.make("damaged-own-page.db", "create table t (a primary key collate own_order, b); create table z (a);", rows=("insert into t values (?, ?)", [(f"k{i}", i) for i in range(500)]), code=1)
    patch(path, root(path, "t"), 0, random.Random(2).randbytes(4096))
    path = corpus.make("damaged-nocase-value.db", "create table t (a text collate nocase unique); insert into t values ('alpha'), ('beta'), ('gamma');", code=1)
    page = root(path, "sqlite_autoindex_t_1")
    content = read(path, page)
    patch(path, page, content.index(b"beta"), b"zeta")
    path = corpus.make("damaged-order.db", "create table w (a text primary key, b) without rowid; insert into w values ('aa', 1), ('bb', 2), ('cc', 3);", code=1)
    page = root(path, "w")
    content = read(path, page)
    patch(path, page, content.index(b"bb"), b"zz")
    path = corpus.make("damaged-and-older.db", USUAL + "create table a (b); insert into a values (null); pragma writable_schema = on; update sqlite_master set sql = 'create table a (b not null)' where name = 'a';", code=1)
    lose_entry(path, "t", "t_a")
    path = corpus.make("damaged-unreferenced.db", USUAL, code=1)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript("pragma writable_schema = on; delete from sqlite_master where name = 't_a';")
    connection.close()
    path = corpus.make("damaged-rtree.db", "create virtual table r using rtree(id, x0, x1); insert into r values (1, 1, 2), (2, 3, 4); delete from r_rowid where rowid = 1;", code=1)
    path = corpus.make("damaged-schema.db", USUAL, code=1)
    content = read(path, 1)
    patch(path, 1, content.index(b"create table t ") if b"create table t " in content else content.index(b"CREATE TABLE t "), b"creaXe")
    path = corpus.make("damaged-cut.db", USUAL + BIG, code=1)
    os.truncate(path, os.path.getsize(path) // 2 // 4096 * 4096)
    path = corpus.add("no-database.db", code=2)
    with open(path, "wb") as file:
        file.write(b"this was a database" * 400)
    open(corpus.add("empty-file.db", code=2), "wb").close()


def lose_entry(path, table, index):
    """Leaves an index without one of the rows of its table: one that was inserted while the schema did not name the index."""
    connection = prepared(sqlite3.connect(path, isolation_level=None))
    entry = connection.execute("select type, name, tbl_name, rootpage, sql from sqlite_master where name = ?", (index,)).fetchone()
    ddl = connection.execute("select sql from sqlite_master where type = 'table' and name = ?", (table,)).fetchone()[0]
    connection.execute("pragma writable_schema = on")
    connection.execute("delete from sqlite_master where name = ?", (index,))
    if entry[4] is None:
        connection.execute("update sqlite_master set sql = ? where type = 'table' and name = ?", (f"create table {table} (a, b)", table))
    connection.close()
    connection = prepared(sqlite3.connect(path, isolation_level=None))
    connection.execute(f"insert into {table} (a, b) values ('lost entry', 77)")
    connection.execute("pragma writable_schema = on")
    connection.execute("update sqlite_master set sql = ? where type = 'table' and name = ?", (ddl, table))
    connection.execute("insert into sqlite_master (type, name, tbl_name, rootpage, sql) values (?, ?, ?, ?, ?)", entry)
    connection.close()


def build(folder):
    corpus = Corpus(folder)
    sound(corpus)
    complaints(corpus)
    damaged(corpus)
    print(json.dumps(corpus.files))


def copy(source, target):
    left, right = sqlite3.connect(source), sqlite3.connect(target)
    left.backup(right)
    right.close()


if __name__ == "__main__":
    {"build": build, "copy": copy}[sys.argv[1]](*sys.argv[2:])
