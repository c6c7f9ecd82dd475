-- Everything PostgreSQL has: what a database can hold that makes two copies of it hard to compare.
-- Loads into PostgreSQL 14 and later, as the owner of the database.

create schema "Odd ""Schema""; drop";

create type mood as enum ('sad', 'ok', 'happy');
create type pair as (a int, b text);
create domain posint as int check (value > 0);
create domain moods as mood not null default 'ok';
create type floatrange as range (subtype = float8, subtype_diff = float8mi);

create table every_type (
    id int generated always as identity primary key,
    a_bool bool, a_int2 int2, a_int4 int4, a_int8 int8, a_numeric numeric, a_numeric2 numeric(12, 4), a_float4 float4, a_float8 float8,
    a_money money, a_text text, a_varchar varchar(20), a_char char(8), a_onechar "char", a_name name, a_bytea bytea,
    a_date date, a_time time, a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz, an_interval interval,
    a_point point, a_line line, a_lseg lseg, a_box box, a_path path, a_polygon polygon, a_circle circle,
    an_inet inet, a_cidr cidr, a_macaddr macaddr, a_macaddr8 macaddr8, a_bit bit(5), a_varbit varbit,
    a_tsvector tsvector, a_tsquery tsquery, a_uuid uuid, an_xml xml, a_json json, a_jsonb jsonb, a_jsonpath jsonpath,
    an_oid oid, a_regclass regclass, a_regtype regtype, a_lsn pg_lsn, a_snapshot pg_snapshot, an_xid8 xid8,
    an_int4range int4range, an_int8range int8range, a_numrange numrange, a_tsrange tsrange, a_tstzrange tstzrange, a_daterange daterange,
    a_multirange int4multirange, a_floatrange floatrange, a_mood mood, a_pair pair, a_posint posint, a_domain moods,
    some_ints int[], some_texts text[], some_moods mood[], some_pairs pair[], some_ranges int4range[], some_posints posint[],
    a_grid int[][], shifted int[],
    doubled int generated always as (a_int4 * 2) stored
);
insert into every_type
select from generate_series(1, 3);
insert into every_type (
    a_bool, a_int2, a_int4, a_int8, a_numeric, a_numeric2, a_float4, a_float8, a_money, a_text, a_varchar, a_char, a_onechar, a_name, a_bytea,
    a_date, a_time, a_timetz, a_timestamp, a_timestamptz, an_interval, a_point, a_line, a_lseg, a_box, a_path, a_polygon, a_circle,
    an_inet, a_cidr, a_macaddr, a_macaddr8, a_bit, a_varbit, a_tsvector, a_tsquery, a_uuid, an_xml, a_json, a_jsonb, a_jsonpath,
    an_oid, a_regclass, a_regtype, a_lsn, a_snapshot, an_xid8, an_int4range, an_int8range, a_numrange, a_tsrange, a_tstzrange, a_daterange,
    a_multirange, a_floatrange, a_mood, a_pair, a_posint, a_domain, some_ints, some_texts, some_moods, some_pairs, some_ranges,
    some_posints, a_grid, shifted)
select n % 2 = 0, n % 30000, n, n::int8 << 33, n / 7.0, n / 3.0, n / 3.0, -0.0 * n, n, 'Grüße ' || n, 'v' || n, 'c' || n % 9, 'x', 'name' || n, decode(md5(n::text), 'hex'),
    date '2026-01-01' + n, time '00:00' + n * interval '1 s', timetz '12:00+02', timestamp '2026-01-01' + n * interval '1 min',
    timestamptz '2026-01-01 00:00+00' + n * interval '1 h', n * interval '25 hours', point(n, -n), '{1,2,3}', '[(0,0),(1,1)]', '((0,0),(2,2))',
    '[(0,0),(1,1)]', '((0,0),(1,1),(1,0))', '<(0,0),3>', '10.0.0.1/24', '10.1.0.0/16', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10110',
    B'101', 'a fat cat'::tsvector, 'fat & cat'::tsquery, md5(n::text)::uuid, '<a>b</a>', '{"b":1, "a":  2}', '{"b": 1.00, "a": [1,2]}', '$.a[*]',
    n, 'every_type', 'int4', '16/B374D848', '10:20:10,14', n::text::xid8, int4range(n, n + 5), int8range(n, null), numrange(0.5, n + 1),
    tsrange('2026-01-01', null), tstzrange(null, '2026-01-01 00:00+00'), daterange('2026-01-01', '2026-02-01'), '{[1,3),[5,9)}', floatrange(0, n),
    'happy', row(n, 'p,"q')::pair, n, 'sad', array[n, null, 3], array['a,b', '"', null], '{sad,happy}', array[row(1, 'x')::pair],
    array[int4range(1, 2)], array[1, 2]::posint[], '{{1,2},{3,4}}', '[0:1]={7,8}'
from generate_series(1, 500) n;

create table no_key (a int, b text);
insert into no_key select n % 50, 'b' || n % 7 from generate_series(1, 700) n;
create table no_columns ();
insert into no_columns default values;
insert into no_columns default values;
create table an_empty_one (id int primary key, t text);
create table "Ünï ""cødé"" table 🚣" ("Ïd" int primary key, " " text, "select" int, "a""b" int);
insert into "Ünï ""cødé"" table 🚣" select n, 'x', n, n from generate_series(1, 40) n;
create table "Odd ""Schema""; drop".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk (id int primary key);
insert into "Odd ""Schema""; drop".abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk select generate_series(1, 9);
create table two_keys (region text collate "C", n int, v text, primary key (region, n));
insert into two_keys select 'r' || n % 4, n, md5(n::text) from generate_series(1, 400) n;
create table unique_only (u uuid not null unique, v int);
insert into unique_only select md5(n::text)::uuid, n from generate_series(1, 100) n;

create table toasted (id int primary key, big text, compressed bytea);
alter table toasted alter big set storage external;
insert into toasted select n, repeat(md5(n::text), 40000), decode(repeat('ab', 500000), 'hex') from generate_series(1, 3) n;

do $$ begin
    execute 'create table wide (' || (select string_agg(format('c%s %s', n, case when n % 3 = 0 then 'text' else 'int' end), ', ') from generate_series(1, 1600) n) || ')';
    execute 'insert into wide (c1, c3, c1599) values (1, ''three'', ''end''), (2, null, ''x'')';
end $$;

create table dropped_columns (a int, gone text, b int, gone_too int, c text);
alter table dropped_columns drop gone, drop gone_too, add d int default 7;
insert into dropped_columns select n, n, 'c' from generate_series(1, 30) n;

create table parent (id int, v text);
create table child (extra int) inherits (parent);
alter table parent add later int;
insert into parent select n, 'p', n from generate_series(1, 10) n;
insert into child select n, 'c', n, n from generate_series(1, 20) n;

create table measured (at date not null, region int not null, v int) partition by range (at);
create table measured_2026 partition of measured for values from ('2026-01-01') to ('2027-01-01') partition by list (region);
create table measured_2026_1 partition of measured_2026 for values in (1);
create table measured_2026_rest partition of measured_2026 default;
create table measured_old partition of measured default;
insert into measured select date '2025-10-01' + n, n % 3, n from generate_series(1, 300) n;

create unlogged table scratch (id int);
insert into scratch values (1);
create materialized view totals as select region, count(*) n from two_keys group by region;
create materialized view never_filled as select 1 as one with no data;
create view happy as select id, a_text from every_type where a_mood = 'happy';
create rule no_delete as on delete to unique_only do instead nothing;
create function twice(int) returns int language sql immutable as 'select $1 * 2';
create procedure nothing() language plpgsql as 'begin null; end';
create aggregate product (int) (sfunc = int4mul, stype = int, initcond = '1');
create function touch() returns trigger language plpgsql as 'begin return new; end';
create trigger touched before update on two_keys for each row execute function touch();
create index by_expression on every_type (lower(a_text)) where a_bool;
create index by_gin on every_type using gin (a_jsonb);
alter table two_keys add constraint not_yet check (n >= 0) not valid;
create statistics correlated on region, v from two_keys;
create policy only_even on unique_only using (v % 2 = 0);
create sequence counting start 5 increment -3 minvalue -1000 maxvalue 100;
select nextval('counting'), nextval('counting');
create sequence untouched;
select lo_from_bytea(4242, decode(repeat('00ff', 3000), 'hex'));
