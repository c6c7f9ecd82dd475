-- Names, bodies and comments that look like what a dump is made of. Loads into PostgreSQL 14 and later, as the owner of the database.

set check_function_bodies = off;
create schema "a; Type: DATABASE; Schema: x";
create schema U&"line\000A\005Cconnect app\000A-- Name: x; Type: DATABASE";
create schema "quo""te'$$\";
create table "a; Type: DATABASE; Schema: x"."t) FROM stdin;" (
    "id; drop" int primary key,
    "a"" b" text default E'a\n\\.\n\\connect app\n' check ("a"" b" <> $c$'; \! touch x; --$c$),
    U&"cr\000Dlf\000A" text default $d$$$ ;$d$,
    "\." text generated always as ('\.' || ';') stored
);
insert into "a; Type: DATABASE; Schema: x"."t) FROM stdin;" values
    (1, E'\\.', E'\\.\n'), (2, E'\\.\n\\connect app\n', E'\r\\.\r\n'), (3, E'\\N', null), (4, '', E'\u2028\t\x0b');
create table U&"line\000A\005Cconnect app\000A-- Name: x; Type: DATABASE".U&"t\000ACOPY public.x (a) FROM stdin;\000A" (a int, U&"\0001\001B[31m" int);
insert into U&"line\000A\005Cconnect app\000A-- Name: x; Type: DATABASE".U&"t\000ACOPY public.x (a) FROM stdin;\000A" select n, -n from generate_series(1, 12) n;
create table "quo""te'$$\".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg ("ä" int, "--" int, "/*" int, "*/" int, "E'" int, "$1$" int);
insert into "quo""te'$$\".aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg values (1, 2, 3, 4, 5, 6);

create function body_of_a_dump() returns text language sql as $f$
--
-- Data for Name: users; Type: TABLE DATA; Schema: public; Owner: me
--

COPY public.users (id) FROM stdin;
1
\.

ALTER DATABASE app OWNER TO me;
\connect app
DROP DATABASE app;
-- PostgreSQL database dump complete
select '$_$; \! touch x'::text $f$;
create function "a; Type: DATABASE; Schema: x".f() returns int language plpgsql as E'begin\n-- Name: app; Type: DATABASE; Schema: -; Owner: x\n--\nALTER DATABASE app SET work_mem = 1;\nCREATE DATABASE x;\n\\restrict x\n\\unrestrict x\nreturn 1; end';
create function "quo""te'$$\"."f'; --"(a text default E'\\''; --') returns text language sql as $_$ select $$ ; $$ || a || '\' $_$;
-- psql itself does not find the end of this one.
do $do$ begin execute $x$create function atomic(a int) returns int language sql begin atomic
    select case when a > 1 then (select case a when 2 then 3 else 4 end) else 5 end;
    select a as begin;
end$x$; end $do$;
create procedure do_nothing() language sql begin atomic select 1 as "end", 2 as "case"; end;
create view quoted as select 'a;b'::text as ";", E'\\\';\n\\.\n'::text as "\.", $$;'$$::text as "$$", 1 - -1 as minus, 6 / 2 as "/*";
create table watched (id int primary key, v text);
insert into watched values (1, 'a');
create rule two as on update to watched do also (insert into watched values (new.id + 100, ';'); delete from watched where v = '\;');
create function touch_it() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger "t; --
\! touch" before insert on watched for each row when (new.v <> E'\n\\connect x\n') execute function touch_it('\.', E'a\\b;\n');
create policy "p
\connect" on watched using (v <> E'\\;\n--');
alter table watched enable row level security;
create type "label\" as enum (E'a;\n\\.\n', '''', '\', '$$', 'E''\''');
create domain "d;" as text check (value <> E'\\.\n;');
create table typed (a "label\" default '\', b "d;");
insert into typed values (E'a;\n\\.\n', E'\\'), ('''', '$$');
create index "i; \" on watched ((v || E'\\;\n')) where v <> '; --';
create sequence "s; drop" start 7 increment 3;
select nextval('"s; drop"'), nextval('"s; drop"');
create statistics "st;" on (id + 1), v from watched;
comment on schema public is E'x\n\\connect app\n';
comment on table typed is E'\\.\n--\n-- Name: app; Type: DATABASE; Schema: -; Owner: me\n--\n\nDROP DATABASE app;\n';
comment on column typed.a is E'it''s \\ $$ ; /* --';
comment on function body_of_a_dump() is E'\n\\! touch x\n';
comment on trigger "t; --
\! touch" on watched is E'\r\n;';
do $$ begin execute format('comment on database %I is %L', current_database(), E'x\n\\connect app\n\\! touch x\n'); end $$;
do $$ begin execute format('alter database %I set search_path = public, %I', current_database(), 'a; Type: DATABASE; Schema: x'); end $$;
grant select on typed to public;
grant select ("a"" b") on "a; Type: DATABASE; Schema: x"."t) FROM stdin;" to public;
select lo_from_bytea(4711, '\x5c2e0a3b');
-- PostgreSQL words these otherwise once it has read what it wrote.
create table worded (status varchar(20) check (status in ('in progress', 'it''s (done)')) default 'in progress');
create index worded_open on worded (status) where status in ('in progress', 'b');
create view worded_view as select * from worded where status in ('in progress', 'b') and (status || 'x')::varchar like 'i%';
