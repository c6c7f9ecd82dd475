-- A small recruiting application: about 200,000 rows, foreign keys, a partitioned table, names that need quoting.

create table users (
    id bigint generated always as identity primary key,
    email text not null unique,
    created_at timestamptz not null
);

create table jobs (
    id bigint generated always as identity primary key,
    owner_id bigint not null references users,
    title text not null,
    salary numeric(10, 2) check (salary > 0)
);

create table candidates (
    id uuid primary key,
    name text not null,
    skills text[] not null default '{}',
    profile jsonb
);

create table applications (
    id bigint generated always as identity primary key,
    job_id bigint not null references jobs,
    candidate_id uuid not null references candidates,
    state text not null default 'received',
    created_at timestamptz not null
);

create table application_events (
    application_id bigint not null,
    happened_at timestamptz not null,
    what text not null
) partition by range (happened_at);

create table application_events_2026_q3 partition of application_events for values from ('2026-07-01') to ('2026-10-01');
create table application_events_2026_q4 partition of application_events for values from ('2026-10-01') to ('2027-01-01');

create schema "Human Resources";
create table "Human Resources"."Interview ""Notes"" 2026" (id int primary key, "Was ist dran?" text);

create unlogged table login_sessions (id int primary key, opened_at timestamptz);

create materialized view applications_per_job as
    select job_id, count(*) as applications from applications group by job_id with no data;

insert into users (email, created_at)
    select format('user%s@example.org', n), timestamptz '2026-01-01' + n * interval '5 minutes' from generate_series(1, 20000) n;
insert into jobs (owner_id, title, salary)
    select 1 + n % 20000, format('Job %s', n), 30000 + n % 70000 from generate_series(1, 5000) n;
insert into candidates (id, name, skills, profile)
    select md5(n::text)::uuid, format('Candidate %s', n), array['sql', format('skill%s', n % 50)], jsonb_build_object('years', n % 30)
    from generate_series(1, 50000) n;
insert into applications (job_id, candidate_id, created_at)
    select 1 + n % 5000, md5((1 + n % 50000)::text)::uuid, timestamptz '2026-06-01' + n * interval '2 minutes'
    from generate_series(1, 65000) n;
insert into application_events
    select n, timestamptz '2026-07-01' + n * interval '3 minutes', 'received' from generate_series(1, 60000) n;
insert into "Human Resources"."Interview ""Notes"" 2026" select n, 'good' from generate_series(1, 300) n;
insert into login_sessions select n, now() from generate_series(1, 100) n;
refresh materialized view applications_per_job;
