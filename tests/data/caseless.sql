-- Text under a collation for which 'ABC' equals 'abc': needs a PostgreSQL with ICU.
create collation ignore_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
create table caseless (id int primary key, word text collate ignore_case);
insert into caseless select n, case when n % 2 = 0 then 'ABC' else 'abc' end from generate_series(1, 100) n;
