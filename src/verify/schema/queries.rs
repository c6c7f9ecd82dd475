//! The query over the definitions in a database: what it reads of each kind, and what is short in it.

use super::dumped;
use super::lesser::LESSER;

/// What the parts of the query name; each part is `(kind, name, definition)`.
const NAMED: &str = r#"
    with recursive skipped_schema as (
        select oid from pg_namespace
        where nspname in ('pg_catalog', 'information_schema', 'pg_toast') or nspname ~ '^pg_(temp|toast_temp)_'
    ), of_extension as (
        select classid, objid, refobjid from pg_depend where deptype = 'e'
    ), relation as (
        select c.*, format('%I.%I', n.nspname, c.relname) as name
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.relnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_class'::regclass and objid = c.oid)
    )"#;

/// The first parts of the query, and the most.
const FIRST: &str = r#"
    , definition (kind, name, body, class, id) as (
        select 'schema', quote_ident(nspname), body(nspowner::regrole, acl(nspacl, 'n', nspowner)),
               'pg_namespace'::regclass::oid, oid
        from pg_namespace where oid not in (select oid from skipped_schema)
        union all
        select 'extension', quote_ident(extname), body(extversion, extnamespace::regnamespace), 'pg_extension'::regclass, oid from pg_extension
        union all
        select 'columns', r.name,
               string_agg(body(quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull, case when not r.relispartition then a.attidentity else '' end,
                                    a.attgenerated, a.attcollation::regcollation, pg_get_expr(d.adbin, d.adrelid), acl(a.attacl, 'c', r.relowner)),
                          ', ' order by a.attname), -- a dump may restore inherited columns in another order
               'pg_class'::regclass, r.oid
        from relation r join pg_attribute a on a.attrelid = r.oid and a.attnum > 0 and not a.attisdropped
        left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
        where r.relkind in ('r', 'p', 'v', 'm', 'f') group by r.name, r.oid
        union all
        select 'rights', name, body(acl(relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner)), 'pg_class'::regclass, oid
        from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'row security', name, body(relrowsecurity, relforcerowsecurity), 'pg_class'::regclass, oid from relation where relkind in ('r', 'p')
        union all
        select 'owner', name, relowner::regrole::text, 'pg_class'::regclass, oid from relation where relkind in ('r', 'p', 'v', 'm', 'f', 'S')
        union all
        select 'storage', name, body(relkind, relpersistence, relreplident, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid),
                                          case when relkind = 'v' then (select array_agg(o order by o) from unnest(reloptions) o) else reloptions end,
                                          (select ftoptions from pg_foreign_table where ftrelid = relation.oid),
                                          (select string_agg(inhparent::regclass::text, ',' order by inhseqno) from pg_inherits where inhrelid = oid)),
               'pg_class'::regclass, oid
        from relation where relkind in ('r', 'p', 'v', 'm', 'f')
        union all
        select 'constraint', format('%s on %s', quote_ident(conname), r.name),
               body(pg_get_constraintdef(o.oid), convalidated,
                    (select string_agg(tgenabled::text, '' order by tgtype, tgenabled) from pg_trigger where tgconstraint = o.oid)),
               'pg_constraint'::regclass, o.oid
        from pg_constraint o join relation r on r.oid = o.conrelid where contype <> 'n' -- PostgreSQL 18 also names NOT NULL
        union all
        select 'index', x.name, body(pg_get_indexdef(i.indexrelid), i.indisvalid, i.indisready, i.indisclustered, i.indisreplident), 'pg_class'::regclass, x.oid
        from pg_index i join relation x on x.oid = i.indexrelid
        union all
        select 'view', name, pg_get_viewdef(oid), 'pg_class'::regclass, oid from relation where relkind in ('v', 'm')
        union all
        select 'rule', format('%s on %s', quote_ident(rulename), r.name), body(pg_get_ruledef(u.oid), ev_enabled), 'pg_rewrite'::regclass, u.oid
        from pg_rewrite u join relation r on r.oid = u.ev_class where rulename <> '_RETURN'
        union all
        select 'trigger', format('%s on %s', quote_ident(tgname), r.name), body(pg_get_triggerdef(t.oid), tgenabled), 'pg_trigger'::regclass, t.oid
        from pg_trigger t join relation r on r.oid = t.tgrelid where not tgisinternal
        union all
        select 'policy', format('%s on %s', quote_ident(polname), r.name),
               body(polcmd, polpermissive, polroles::regrole[], pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)), 'pg_policy'::regclass, p.oid
        from pg_policy p join relation r on r.oid = p.polrelid
        union all
        select 'sequence', r.name, body(seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle,
               (select string_agg(format('%s.%I', a.attrelid::regclass, a.attname), ',') from pg_depend d join pg_attribute a on a.attrelid = d.refobjid
                and a.attnum = d.refobjsubid where d.classid = 'pg_class'::regclass and d.objid = r.oid and d.deptype in ('a', 'i'))),
               'pg_class'::regclass, r.oid
        from pg_sequence s join relation r on r.oid = s.seqrelid
        union all
        select 'function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               body(case when p.prokind = 'a' then body(a.aggtransfn, a.aggfinalfn, a.agginitval, a.aggcombinefn, a.aggmtransfn, a.aggsortop::regoperator)
                                   else pg_get_functiondef(p.oid) end, p.proowner::regrole, acl(p.proacl, 'f', p.proowner)), 'pg_proc'::regclass, p.oid
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace left join pg_aggregate a on a.aggfnoid = p.oid
        where p.pronamespace not in (select oid from skipped_schema)
          and not exists (select from pg_depend where classid = 'pg_proc'::regclass and objid = p.oid and deptype in ('e', 'i'))
        union all
        select 'type', format('%I.%I', n.nspname, t.typname),
               body(t.typtype, t.typowner::regrole, acl(t.typacl, 'T', t.typowner), t.typcollation::regcollation, format_type(t.typbasetype, t.typtypmod), t.typnotnull, coalesce(pg_get_expr(t.typdefaultbin, 0), t.typdefault),
                         (select string_agg(quote_literal(enumlabel), ',' order by enumsortorder) from pg_enum where enumtypid = t.oid),
                         (select string_agg(concat_ws(' ', format_type(rngsubtype, null), rngcollation::regcollation, rngsubdiff), ',') from pg_range where rngtypid = t.oid),
                         (select string_agg(pg_get_constraintdef(oid), ',' order by conname) from pg_constraint where contypid = t.oid and contype <> 'n'),
                         (select string_agg(body(quote_ident(attname), format_type(atttypid, atttypmod), attcollation::regcollation), ',' order by attnum)
                          from pg_attribute where attrelid = t.typrelid and attnum > 0 and not attisdropped)), 'pg_type'::regclass, t.oid
        from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_class c on c.oid = t.typrelid
        where t.typnamespace not in (select oid from skipped_schema) and t.typcategory <> 'A'
          and (t.typtype in ('e', 'd', 'r') or (t.typtype = 'c' and c.relkind = 'c'))
          and not exists (select from of_extension where classid = 'pg_type'::regclass and objid = t.oid)
        union all
        select 'event trigger', quote_ident(evtname), body(evtevent, evtenabled, evtfoid::regprocedure, evttags),
               'pg_event_trigger'::regclass, oid
        from pg_event_trigger
        union all
        select 'publication', quote_ident(pubname), body(puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, pubviaroot, pubowner::regrole,
               (select string_agg(format('%I.%I %s', schemaname, tablename, to_jsonb(v)->>'rowfilter'), ',' order by schemaname, tablename)
                from pg_publication_tables v where v.pubname = p.pubname)), 'pg_publication'::regclass, p.oid
        from pg_publication p
        union all
        select 'collation', format('%I.%I', n.nspname, collname),
               body(collprovider, collisdeterministic,
                    case when collprovider = 'c' and collencoding = -1 then current_setting('server_encoding') else pg_encoding_to_char(collencoding) end, collcollate, collctype,
                    coalesce(to_jsonb(c)->>'colliculocale', to_jsonb(c)->>'colllocale'), to_jsonb(c)->>'collicurules'), 'pg_collation'::regclass, c.oid
        from pg_collation c join pg_namespace n on n.oid = c.collnamespace
        where c.collnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_collation'::regclass and objid = c.oid)
        union all
        select 'statistics', format('%I.%I', n.nspname, stxname), pg_get_statisticsobjdef(s.oid), 'pg_statistic_ext'::regclass, s.oid
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where s.stxnamespace not in (select oid from skipped_schema)
        union all
        select 'operator', format('%I.%s (%s, %s)', n.nspname, oprname, format_type(nullif(oprleft, 0), null), format_type(nullif(oprright, 0), null)),
               body(oprcode, oprowner::regrole, oprcom::regoperator, oprnegate::regoperator, oprrest, oprjoin, oprcanhash, oprcanmerge), 'pg_operator'::regclass, o.oid
        from pg_operator o join pg_namespace n on n.oid = o.oprnamespace
        where o.oprnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_operator'::regclass and objid = o.oid)
        union all
        select 'cast', concat_ws(' as ', format_type(castsource, null), format_type(casttarget, null)),
               body(castfunc::regprocedure, castcontext, castmethod), 'pg_cast'::regclass, c.oid
        from pg_cast c
        where oid >= 16384 and not exists (select from of_extension where classid = 'pg_cast'::regclass and objid = c.oid)
        union all
        select 'foreign server', quote_ident(srvname), body(fdwname, srvtype, srvversion, srvowner::regrole, acl(srvacl, 'S', srvowner), (select string_agg(split_part(o, '=', 1), ',' order by o) from unnest(srvoptions) o)), 'pg_foreign_server'::regclass, s.oid
        from pg_foreign_server s join pg_foreign_data_wrapper w on w.oid = s.srvfdw
        union all
        select 'role', quote_ident(rolname), body(rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil,
               (select string_agg(setting, ',' order by setting) from pg_db_role_setting x cross join unnest(setconfig) setting
                where x.setrole = r.oid and x.setdatabase = 0),
               (select string_agg(g.rolname || m.admin_option::text, ',' order by g.rolname, m.admin_option) from pg_auth_members m join pg_roles g on g.oid = m.roleid
                              where m.member = r.oid)), 'pg_authid'::regclass, r.oid
        from pg_roles r
        where r.oid in (select refobjid from pg_shdepend s where refclassid = 'pg_authid'::regclass
                        and dbid = (select oid from pg_database where datname = current_database())
                        and not exists (select from pg_class where classid = 'pg_class'::regclass and pg_class.oid = objid and relpersistence = 't')
                        and not exists (select from pg_namespace where classid = 'pg_namespace'::regclass and pg_namespace.oid = objid and nspname ~ '^pg_(temp|toast_temp)_'))
        union all
        select 'database', 'encoding and collation', body(pg_encoding_to_char(encoding), datcollate, datctype,
               coalesce(to_jsonb(d)->>'datlocprovider', 'c'), coalesce(to_jsonb(d)->>'daticulocale', to_jsonb(d)->>'datlocale')), 'pg_database'::regclass, d.oid
        from pg_database d where datname = current_database()
        union all
        select 'owner', 'the database', datdba::regrole::text, 'pg_database'::regclass, oid from pg_database where datname = current_database()
        union all
        select 'rights', 'the database', acl(datacl, 'd', datdba), 'pg_database'::regclass, oid from pg_database where datname = current_database()
        union all
        select 'default rights', concat_ws(' ', defaclrole::regrole, defaclnamespace::regnamespace, defaclobjtype),
               acl(defaclacl, 'r', defaclrole), 'pg_default_acl'::regclass, oid
        from pg_default_acl
        union all
        select 'large objects', 'all', body(count(*), sum(hashoidextended(oid, 0))), 'pg_largeobject_metadata'::regclass, null from pg_largeobject_metadata having count(*) > 0
        union all
        select 'setting', concat_ws(' for ', split_part(setting, '=', 1), quote_ident(rolname)), setting, 'pg_db_role_setting'::regclass, d.setrole
        from pg_db_role_setting d left join pg_roles r on r.oid = d.setrole cross join unnest(setconfig) setting
        where d.setdatabase = (select oid from pg_database where datname = current_database())
        union all
        select 'foreign options', quote_ident(srvname), body((select string_agg(o, ',' order by o) from unnest(srvoptions) o where o !~* secret())),
               'pg_foreign_server'::regclass, oid
        from pg_foreign_server where srvoptions is not null
        union all
        select 'foreign options', r.name, body((select string_agg(body(quote_ident(attname), o), ',' order by attname, o)
               from pg_attribute cross join unnest(attfdwoptions) o where attrelid = r.oid and o !~* secret())), 'pg_class'::regclass, r.oid
        from relation r where relkind = 'f'
        union all
        select 'foreign data wrapper', quote_ident(fdwname), body(fdwowner::regrole, fdwhandler::regproc, fdwvalidator::regproc, acl(fdwacl, 'F', fdwowner),
               (select string_agg(o, ',' order by o) from unnest(fdwoptions) o where o !~* secret())), 'pg_foreign_data_wrapper'::regclass, oid
        from pg_foreign_data_wrapper
        union all
        select 'publication columns', quote_ident(pubname), (select string_agg(format('%I.%I (%s)', schemaname, tablename,
                    (select string_agg(c, ',' order by c) from jsonb_array_elements_text(nullif(to_jsonb(v)->'attnames', 'null')) c)), ',' order by schemaname, tablename)
                from pg_publication_tables v where v.pubname = p.pubname), 'pg_publication'::regclass, p.oid
        from pg_publication p
        union all
        select 'aggregate', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               body(to_jsonb(a) - array['aggfnoid', 'aggsortop', 'aggtranstype', 'aggmtranstype'], aggsortop::regoperator,
                    format_type(aggtranstype, null), format_type(nullif(aggmtranstype, 0), null)), 'pg_proc'::regclass, p.oid
        from pg_aggregate a join pg_proc p on p.oid = a.aggfnoid join pg_namespace n on n.oid = p.pronamespace
        where p.pronamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_proc'::regclass and objid = p.oid)
        union all
        select 'server role', quote_ident(rolname), body(rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit, rolvaliduntil,
               (select string_agg(setting, ',' order by setting) from pg_db_role_setting x cross join unnest(setconfig) setting
                where x.setrole = r.oid and x.setdatabase = 0),
               (select string_agg(body(g.rolname, m.admin_option, to_jsonb(m)->>'inherit_option', to_jsonb(m)->>'set_option'), ','
                                  order by g.rolname, m.admin_option, m.grantor::regrole::text)
                from pg_auth_members m join pg_roles g on g.oid = m.roleid where m.member = r.oid)), 'pg_authid'::regclass, r.oid
        from pg_roles r where rolname <> 'rdsadmin' and rolname !~ '^rds_' -- they belong to AWS
        union all
        select 'instance setting', split_part(setting, '=', 1), setting, 'pg_db_role_setting'::regclass, 0
        from pg_db_role_setting cross join unnest(setconfig) setting where setdatabase = 0 and setrole = 0
        union all
        select 'connection limit', 'the database', body(datconnlimit, datallowconn, datistemplate), 'pg_database'::regclass, oid
        from pg_database where datname = current_database()
        union all
        select 'system function', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               body(prosrc, probin, proowner::regrole, prosecdef, proconfig, prokind, proretset, provolatile, prolang), 'pg_proc'::regclass, p.oid
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.oid >= 16384 and p.pronamespace in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_proc'::regclass and objid = p.oid)
        union all
        select 'system function', 'those of PostgreSQL', body(count(*), md5(string_agg(md5(body(oid, proname, prosrc, probin, proowner, prosecdef, proconfig, provolatile)), '' order by oid))),
               null, null
        from pg_proc where oid < 16384
        union all
        select 'system relation', format('%I.%I', n.nspname, relname),
               body(relkind, relowner::regrole, case when relkind = 'v' then pg_get_viewdef(c.oid) end), 'pg_class'::regclass, c.oid
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where c.oid >= 16384 and nspname in ('pg_catalog', 'information_schema') and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
          and not exists (select from of_extension where classid = 'pg_class'::regclass and objid = c.oid)
        union all
        select 'system relation', 'the views of PostgreSQL', body(count(*), md5(string_agg(md5(ev_action::text), '' order by oid))), null, null
        from pg_rewrite where oid < 16384
        union all
        select 'system rights', format('%I.%I(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
               acl(p.proacl, 'f', p.proowner), 'pg_proc'::regclass, p.oid
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where p.proacl is not null and nspname in ('pg_catalog', 'information_schema')
          and not exists (select from of_extension where classid = 'pg_proc'::regclass and objid = p.oid)
        union all
        select 'system rights', format('%I.%I', n.nspname, relname), body(acl(relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner),
               (select string_agg(body(attname, acl(attacl, 'c', relowner)), ',' order by attnum) from pg_attribute where attrelid = c.oid and attacl is not null)),
               'pg_class'::regclass, c.oid
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where nspname in ('pg_catalog', 'information_schema') and relkind in ('r', 'p', 'v', 'm', 'f', 'S')
          and (relacl is not null or exists (select from pg_attribute where attrelid = c.oid and attacl is not null))
          and not exists (select from of_extension where classid = 'pg_class'::regclass and objid = c.oid)
        union all
        select 'system rights', concat('schema ', nspname), body(nspowner::regrole, acl(nspacl, 'n', nspowner)), 'pg_namespace'::regclass, oid
        from pg_namespace where nspname in ('pg_catalog', 'information_schema')
        union all
        select 'system rights', concat('language ', quote_ident(lanname)), body(lanpltrusted, lanowner::regrole, acl(lanacl, 'l', lanowner)), 'pg_language'::regclass, oid
        from pg_language
        union all
        select 'extension members', quote_ident(extname), (
               select string_agg(member, ' ' order by member) from (
                   select body('f', proname, pg_get_function_identity_arguments(p.oid), pronamespace::regnamespace, prosrc, probin, prosecdef, proconfig,
                               provolatile, proowner::regrole, acl(proacl, 'f', proowner))
                   from of_extension d join pg_proc p on p.oid = d.objid where d.refobjid = x.oid and d.classid = 'pg_proc'::regclass
                   union all
                   select body('r', relname, c.relnamespace::regnamespace, relkind, relpersistence, reloptions, relowner::regrole,
                               acl(relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner),
                               case when relkind = 'v' then pg_get_viewdef(c.oid) end,
                               (select string_agg(body(attname, format_type(atttypid, atttypmod), attnotnull), ',' order by attnum)
                                from pg_attribute where attrelid = c.oid and attnum > 0 and not attisdropped),
                               (select string_agg(body(pg_get_indexdef(indexrelid), indisvalid, indisready), ',' order by indexrelid) from pg_index where indrelid = c.oid),
                               (select string_agg(body(conname, pg_get_constraintdef(oid)), ',' order by conname) from pg_constraint where conrelid = c.oid and contype <> 'n'),
                               (select string_agg(body(pg_get_triggerdef(oid), tgenabled), ',' order by tgname) from pg_trigger where tgrelid = c.oid and not tgisinternal))
                   from of_extension d join pg_class c on c.oid = d.objid where d.refobjid = x.oid and d.classid = 'pg_class'::regclass
                   union all
                   select body('o', d.classid::regclass, d.objid) from of_extension d
                   where d.refobjid = x.oid and d.classid not in ('pg_proc'::regclass, 'pg_class'::regclass)
               ) members (member)), 'pg_extension'::regclass, oid
        from pg_extension x
        union all
        select 'catalog flags', concat(said, ' of ', r.name), null, 'pg_class'::regclass, r.oid from relation r cross join lateral (
            select 'relhastriggers' where not relhastriggers and exists (select from pg_trigger where tgrelid = r.oid)
            union all
            select 'relchecks' where relchecks <> (select count(*) from pg_constraint where conrelid = r.oid and contype = 'c')
            union all
            select 'relhasrules' where not relhasrules and exists (select from pg_rewrite where ev_class = r.oid)
            union all
            select 'relhasindex' where not relhasindex and exists (select from pg_index where indrelid = r.oid)
            union all
            select 'relhassubclass' where not relhassubclass and exists (select from pg_inherits where inhparent = r.oid)
            union all
            select 'relnatts' where relnatts <> (select count(*) from pg_attribute where attrelid = r.oid and attnum > 0)
            union all
            select 'atthasdef' where exists (select from pg_attribute a where attrelid = r.oid and attnum > 0 and not attisdropped
                and atthasdef <> exists (select from pg_attrdef where adrelid = r.oid and adnum = a.attnum))
            union all
            select 'relfrozenxid' where relfrozenxid::text::int8 > 2 and age(relfrozenxid) < 0 or relminmxid::text::int8 > 0 and mxid_age(relminmxid) < 0
        ) wrong (said)
        union all
        select 'catalog flags', concat(case when indislive then 'indimmediate' else 'indislive' end, ' of ', x.name), null, 'pg_class'::regclass, x.oid
        from pg_index i join relation x on x.oid = i.indexrelid
        where not indislive or indimmediate
            = (indexrelid in (select conindid from pg_constraint where contype in ('p', 'u', 'x') and condeferrable))"#;

/// What follows [`definitions_sql`] to read a digest of each.
pub(super) const DIGESTS: &str = "
    select kind, name, md5(string_agg(coalesce(body, ''), ' ' order by body)) from definition group by kind, name";

/// What follows [`definitions_sql`] to list those that were written to since a transaction `{since}`.
///
/// Every catalog row carries the transaction that wrote it. What is updated in place, such as the statistics of VACUUM and
/// ANALYZE, leaves that alone. A definition names other objects, so it reads otherwise after those were renamed: writes
/// are followed along `pg_depend`. Rows in `pg_attribute` tell when a relation was made, since the row in `pg_class` is
/// replaced by many commands.
pub(super) const TOUCHED: &str = r#"
    , written (class, id, age) as (
        select 'pg_class'::regclass::oid, oid, age(xmin) from pg_class
        union all select 'pg_class'::regclass, attrelid, age(xmin) from pg_attribute
        union all select 'pg_class'::regclass, indexrelid, age(xmin) from pg_index
        union all select 'pg_class'::regclass, adrelid, age(xmin) from pg_attrdef
        union all select 'pg_class'::regclass, ev_class, age(xmin) from pg_rewrite
        union all select 'pg_class'::regclass, seqrelid, age(xmin) from pg_sequence
        union all select 'pg_class'::regclass, inhrelid, age(xmin) from pg_inherits
        union all select 'pg_class'::regclass, ftrelid, age(xmin) from pg_foreign_table
        union all select 'pg_class'::regclass, partrelid, age(xmin) from pg_partitioned_table
        union all select 'pg_rewrite'::regclass, oid, age(xmin) from pg_rewrite
        union all select 'pg_constraint'::regclass, oid, age(xmin) from pg_constraint
        union all select 'pg_type'::regclass, contypid, age(xmin) from pg_constraint
        union all select 'pg_trigger'::regclass, oid, age(xmin) from pg_trigger
        union all select 'pg_constraint'::regclass, tgconstraint, age(xmin) from pg_trigger
        union all select 'pg_policy'::regclass, oid, age(xmin) from pg_policy
        union all select 'pg_proc'::regclass, oid, age(xmin) from pg_proc
        union all select 'pg_proc'::regclass, aggfnoid, age(xmin) from pg_aggregate
        union all select 'pg_type'::regclass, oid, age(xmin) from pg_type
        union all select 'pg_type'::regclass, enumtypid, age(xmin) from pg_enum
        union all select 'pg_type'::regclass, rngtypid, age(xmin) from pg_range
        union all select 'pg_namespace'::regclass, oid, age(xmin) from pg_namespace
        union all select 'pg_extension'::regclass, oid, age(xmin) from pg_extension
        union all select 'pg_event_trigger'::regclass, oid, age(xmin) from pg_event_trigger
        union all select 'pg_publication'::regclass, oid, age(xmin) from pg_publication
        union all select 'pg_publication'::regclass, prpubid, age(xmin) from pg_publication_rel
        union all select 'pg_collation'::regclass, oid, age(xmin) from pg_collation
        union all select 'pg_statistic_ext'::regclass, oid, age(xmin) from pg_statistic_ext
        union all select 'pg_operator'::regclass, oid, age(xmin) from pg_operator
        union all select 'pg_cast'::regclass, oid, age(xmin) from pg_cast
        union all select 'pg_language'::regclass, oid, age(xmin) from pg_language
        union all select 'pg_foreign_data_wrapper'::regclass, oid, age(xmin) from pg_foreign_data_wrapper
        union all select 'pg_foreign_server'::regclass, oid, age(xmin) from pg_foreign_server
        union all select 'pg_default_acl'::regclass, oid, age(xmin) from pg_default_acl
        union all select 'pg_database'::regclass, oid, age(xmin) from pg_database
        union all select 'pg_am'::regclass, oid, age(xmin) from pg_am
        union all select 'pg_opfamily'::regclass, oid, age(xmin) from pg_opfamily
        union all select 'pg_opfamily'::regclass, amopfamily, age(xmin) from pg_amop
        union all select 'pg_opfamily'::regclass, amprocfamily, age(xmin) from pg_amproc
        union all select 'pg_opclass'::regclass, oid, age(xmin) from pg_opclass
        union all select 'pg_conversion'::regclass, oid, age(xmin) from pg_conversion
        union all select 'pg_transform'::regclass, oid, age(xmin) from pg_transform
        union all select 'pg_ts_config'::regclass, oid, age(xmin) from pg_ts_config
        union all select 'pg_ts_config'::regclass, mapcfg, age(xmin) from pg_ts_config_map
        union all select 'pg_ts_dict'::regclass, oid, age(xmin) from pg_ts_dict
        union all select 'pg_ts_parser'::regclass, oid, age(xmin) from pg_ts_parser
        union all select 'pg_ts_template'::regclass, oid, age(xmin) from pg_ts_template
        union all select 'pg_description'::regclass, objoid, age(xmin) from pg_description
        union all select 'pg_shdescription'::regclass, objoid, age(xmin) from pg_shdescription
        union all select 'pg_seclabel'::regclass, objoid, age(xmin) from pg_seclabel
        union all select 'pg_authid'::regclass, member, age(xmin) from pg_auth_members
        union all select 'pg_authid'::regclass, setrole, age(xmin) from pg_db_role_setting
        union all select 'pg_db_role_setting'::regclass, setrole, age(xmin) from pg_db_role_setting
        union all select refclassid, refobjid, age(xmin) from pg_depend
                  where deptype = 'e' or refclassid = 'pg_publication'::regclass
    ), part (class, id, of_class, of_id) as (
        select classid, objid, refclassid, refobjid from pg_depend
        union all select 'pg_class'::regclass, adrelid, 'pg_attrdef'::regclass, oid from pg_attrdef
        union all select 'pg_class'::regclass, ev_class, 'pg_rewrite'::regclass, oid from pg_rewrite
        union all select 'pg_type'::regclass, contypid, 'pg_constraint'::regclass, oid from pg_constraint where contypid <> 0
        union all select 'pg_publication'::regclass, prpubid, 'pg_publication_rel'::regclass, oid from pg_publication_rel
        union all select 'pg_description'::regclass, objoid, classoid, objoid from pg_description
        union all select 'pg_seclabel'::regclass, objoid, classoid, objoid from pg_seclabel
    ), own (class, id, age) as materialized (
        select class, id, min(age) from written where age between 0 and age('{since}'::xid) group by class, id
    ), touched (class, id, age) as (
        select class, id, age from own
        union
        select p.class, p.id, t.age from touched t join part p on p.of_class = t.class and p.of_id = t.id
    ), newest (class, id, age) as (
        select class, id, min(age) from touched group by class, id
    )
    select d.kind, d.name, d.id, age('{since}'::xid)::int8 - n.age, age('{since}'::xid)::int8 - o.age,
           age('{since}'::xid)::int8 - case d.class when 'pg_class'::regclass
               then coalesce((select max(age(xmin)) from pg_attribute where attrelid = d.id), o.age) else o.age end
    from definition d join newest n on n.class = d.class and n.id = d.id left join own o on o.class = d.class and o.id = d.id"#;

/// The rights in an ACL, in a fixed order: PostgreSQL keeps them in the order of the commands that granted them, and the
/// default ones as NULL until the first command. The owner is written as `owner`: a different owner is reported elsewhere.
/// `MAINTAIN` is new in PostgreSQL 17.
fn acl_sql(arguments: &[&str]) -> String {
    let [list, kind, owner] = arguments else { return String::new() };
    let role = |oid: &str| format!("case e.{oid} when {owner} then 'owner' else e.{oid}::regrole::text end");
    let (grantee, grantor) = (role("grantee"), role("grantor"));
    format!(
        "(select string_agg(format('%s=%s%s by %s', {grantee}, e.privilege_type, e.is_grantable, {grantor}), ','
                            order by {grantee}, e.privilege_type, {grantor})
          from aclexplode(coalesce({list}, acldefault({kind}, {owner}))) e where e.privilege_type <> 'MAINTAIN')"
    )
}

/// A pattern of options that may hold a secret: a digest of a short one could be guessed.
fn secret_sql(_: &[&str]) -> String {
    "'^[^=]*(pass|secret|token|credential|key)[^=]*='".to_owned()
}

/// Several values as one text, in which NULL is not nothing.
fn body_sql(arguments: &[&str]) -> String {
    format!("row({})::text", arguments.join(","))
}

/// The same without the quotes in which the text of a row stands.
pub(super) fn plain_body_sql(arguments: &[&str]) -> String {
    let values: Vec<String> = arguments.iter().map(|argument| format!("({argument})::text")).collect();
    format!("array_to_string(array[{}], e'\n', '(null)')", values.join(","))
}

/// Writes out every `name(…)` in `sql`, innermost first.
fn expand_function(sql: &str, name: &str, write: fn(&[&str]) -> String) -> String {
    let start = format!("{name}(");
    let begins = |at: usize| !sql[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
    let Some(at) = sql.rmatch_indices(&start).map(|(at, _)| at).find(|at| begins(*at)) else {
        return sql.to_owned();
    };
    let inside = &sql[at + start.len()..];
    let (mut depth, mut commas, mut end, mut quoted) = (0_usize, Vec::new(), inside.len(), false);
    for (position, c) in inside.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' if depth == 0 => {
                end = position;
                break;
            }
            ')' | ']' => depth -= 1,
            ',' if depth == 0 => commas.push(position),
            _ => {}
        }
    }
    let mut arguments = Vec::new();
    let mut from = 0;
    for to in commas.into_iter().chain([end]) {
        arguments.push(inside[from..to].trim());
        from = to + 1;
    }
    let rest = &inside[(end + 1).min(inside.len())..];
    expand_function(&format!("{}{}{rest}", &sql[..at], write(&arguments)), name, write)
}

/// The query over the definitions in a database of a major version, up to its last `SELECT`.
pub(super) fn definitions_sql(major: u32) -> String {
    expand_functions(&parts_sql(major), body_sql)
}

pub(super) fn parts_sql(major: u32) -> String {
    let lesser = LESSER.iter().filter(|(since, _)| *since <= major).map(|(_, part)| *part);
    let parts: String = lesser.chain([dumped::PARTS]).collect();
    format!("{NAMED}{}{FIRST}{parts})", dumped::NAMED)
}

/// Writes out everything that is short in a query.
pub(super) fn expand_functions(sql: &str, body: fn(&[&str]) -> String) -> String {
    expand_function(
        &expand_function(&expand_function(sql, "secret", secret_sql), "acl", acl_sql),
        "body",
        body,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_short_in_the_query_is_written_out() {
        let sql = definitions_sql(17);
        assert!(!sql.contains(" acl(") && !sql.contains("body("), "{sql}");
        assert_eq!(
            expand_function("x body(a, f(b, ')'), body(c)) y", "body", body_sql),
            "x row(a,f(b, ')'),row(c)::text)::text y"
        );
    }
}
