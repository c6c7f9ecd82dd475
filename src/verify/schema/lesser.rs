//! Definitions that change how an object behaves or reads, beside those that make it: settings of columns, the members of
//! operator families, text search, labels and comments.

/// Further parts of the query over definitions, each with the first major version of PostgreSQL that has its catalogs.
pub(super) const LESSER: [(u32, &str); 3] = [
    (
        0,
        r#"
        union all
        select 'column order', r.name, string_agg(quote_ident(attname), ',' order by attnum), 'pg_class'::regclass, r.oid
        from relation r join pg_attribute a on a.attrelid = r.oid and attnum > 0 and not attisdropped
        where relkind in ('r', 'p', 'v', 'm', 'f')
          and (relispartition or not exists (select from pg_inherits where inhrelid = r.oid)) -- parents' columns come first when a child is made
        group by r.name, r.oid
        union all
        select 'column options', r.name,
               string_agg(body(case when relkind in ('i', 'I') then attnum::text else quote_ident(attname) end,
                               case when relkind in ('r', 'p', 'm', 'f') then attstorage end,
                               case when relkind in ('r', 'p', 'm') then attcompression end, nullif(attstattarget, -1), attoptions),
                          ',' order by case when relkind in ('i', 'I') then attnum end, attname), 'pg_class'::regclass, r.oid
        from relation r join pg_attribute on attrelid = r.oid and attnum > 0 and not attisdropped
        where relkind in ('r', 'p', 'm', 'f', 'i', 'I') and not exists (select from invalid_index i where i.oid = r.oid)
        group by r.name, r.oid
        union all
        select 'table options', r.name, body(nullif(reloftype, 0)::regtype, am.amname, case relkind when 'S' then relpersistence end,
               (select reloptions from pg_class t where t.oid = r.reltoastrelid)), 'pg_class'::regclass, r.oid
        from relation r left join pg_am am on am.oid = r.relam where relkind in ('r', 'p', 'm', 'f', 'S')
        union all
        select 'type options', format('%I.%I', n.nspname, t.typname),
               body(typtype, typisdefined, typowner::regrole, acl(typacl, 'T', typowner), typlen, typbyval, typalign, typstorage,
                    case when typtype = 'b' then typcategory end, typispreferred, typdelim, typinput, typoutput, typreceive, typsend,
                    typmodin, typmodout, typanalyze, case when typtype in ('b', 'd') then typdefault end,
                    (select body(opcnamespace::regnamespace, opcname, rngcanonical, format_type(rngmultitypid, null))
                     from pg_range join pg_opclass o on o.oid = rngsubopc where rngtypid = t.oid)), 'pg_type'::regclass, t.oid
        from pg_type t join pg_namespace n on n.oid = t.typnamespace
        where t.typnamespace not in (select oid from skipped_schema) and (typtype in ('b', 'r') and typcategory <> 'A' or not typisdefined)
          and not exists (select from of_extension where classid = 'pg_type'::regclass and objid = t.oid)
        union all
        select 'domain constraint', format('%s of %I.%I', quote_ident(conname), n.nspname, t.typname), body(convalidated), 'pg_constraint'::regclass, o.oid
        from pg_constraint o join pg_type t on t.oid = contypid join pg_namespace n on n.oid = t.typnamespace
        where t.typnamespace not in (select oid from skipped_schema) and contype <> 'n'
          and not exists (select from of_extension where classid = 'pg_type'::regclass and objid = t.oid)
        union all
        select 'operator family', format('%I.%I using %I', n.nspname, opfname, amname),
               body(opfowner::regrole,
                    (select string_agg(body(format_type(amoplefttype, null), format_type(amoprighttype, null), amopstrategy, amopopr::regoperator,
                                            amoppurpose, (select format('%s.%I', s.opfnamespace::regnamespace, s.opfname) from pg_opfamily s where s.oid = amopsortfamily)),
                                       ',' order by amopstrategy, format_type(amoplefttype, null), format_type(amoprighttype, null), amoppurpose)
                     from pg_amop where amopfamily = f.oid),
                    (select string_agg(body(format_type(amproclefttype, null), format_type(amprocrighttype, null), amprocnum, amproc::regprocedure),
                                       ',' order by amprocnum, format_type(amproclefttype, null), format_type(amprocrighttype, null))
                     from pg_amproc where amprocfamily = f.oid)), 'pg_opfamily'::regclass, f.oid
        from pg_opfamily f join pg_namespace n on n.oid = opfnamespace join pg_am am on am.oid = opfmethod
        where opfnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_opfamily'::regclass and objid = f.oid)
        union all
        select 'operator class', format('%I.%I using %I', n.nspname, opcname, amname),
               body(opcowner::regrole, format_type(opcintype, null), opcdefault, format_type(nullif(opckeytype, 0), null),
                    opfnamespace::regnamespace, opfname), 'pg_opclass'::regclass, c.oid
        from pg_opclass c join pg_opfamily f on f.oid = opcfamily join pg_namespace n on n.oid = opcnamespace join pg_am am on am.oid = opcmethod
        where opcnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_opclass'::regclass and objid = c.oid)
        union all
        select 'access method', quote_ident(amname), body(amhandler, amtype), 'pg_am'::regclass, oid
        from pg_am a where oid >= 16384 and not exists (select from of_extension where classid = 'pg_am'::regclass and objid = a.oid)
        union all
        select 'conversion', format('%I.%I', n.nspname, conname),
               body(conowner::regrole, pg_encoding_to_char(conforencoding), pg_encoding_to_char(contoencoding), conproc, condefault),
               'pg_conversion'::regclass, c.oid
        from pg_conversion c join pg_namespace n on n.oid = connamespace
        where connamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_conversion'::regclass and objid = c.oid)
        union all
        select 'language', quote_ident(lanname),
               body(acl(lanacl, 'l', lanowner), case when e.objid is null then body(lanowner::regrole, lanpltrusted, nullif(lanplcallfoid, 0)::regprocedure,
                    nullif(laninline, 0)::regprocedure, nullif(lanvalidator, 0)::regprocedure) end), 'pg_language'::regclass, l.oid
        from pg_language l left join of_extension e on e.classid = 'pg_language'::regclass and e.objid = l.oid where lanispl
        union all
        select 'transform', format('for %s language %I', format_type(trftype, null), lanname), body(trffromsql, trftosql), 'pg_transform'::regclass, t.oid
        from pg_transform t join pg_language l on l.oid = trflang
        where t.oid >= 16384 and not exists (select from of_extension where classid = 'pg_transform'::regclass and objid = t.oid)
        union all
        select 'text search', format('configuration %I.%I', n.nspname, cfgname),
               body(cfgowner::regrole, (select format('%s.%I', prsnamespace::regnamespace, prsname) from pg_ts_parser p where p.oid = cfgparser),
                    (select string_agg(body(maptokentype, mapdict::regdictionary), ',' order by maptokentype, mapseqno)
                     from pg_ts_config_map where mapcfg = c.oid)), 'pg_ts_config'::regclass, c.oid
        from pg_ts_config c join pg_namespace n on n.oid = cfgnamespace
        where cfgnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_ts_config'::regclass and objid = c.oid)
        union all
        select 'text search', format('dictionary %I.%I', n.nspname, dictname),
               body(dictowner::regrole, (select format('%s.%I', tmplnamespace::regnamespace, tmplname) from pg_ts_template t where t.oid = dicttemplate),
                    dictinitoption), 'pg_ts_dict'::regclass, d.oid
        from pg_ts_dict d join pg_namespace n on n.oid = dictnamespace
        where dictnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_ts_dict'::regclass and objid = d.oid)
        union all
        select 'text search', format('parser %I.%I', n.nspname, prsname), body(prsstart, prstoken, prsend, prsheadline, prslextype), 'pg_ts_parser'::regclass, p.oid
        from pg_ts_parser p join pg_namespace n on n.oid = prsnamespace
        where prsnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_ts_parser'::regclass and objid = p.oid)
        union all
        select 'text search', format('template %I.%I', n.nspname, tmplname), body(tmplinit, tmpllexize), 'pg_ts_template'::regclass, t.oid
        from pg_ts_template t join pg_namespace n on n.oid = tmplnamespace
        where tmplnamespace not in (select oid from skipped_schema)
          and not exists (select from of_extension where classid = 'pg_ts_template'::regclass and objid = t.oid)
        union all
        select 'object owner', concat_ws(' ', i.type, i.identity), owner::regrole::text, class, o.oid
        from (select 'pg_collation'::regclass, oid, collowner from pg_collation where collnamespace not in (select oid from skipped_schema)
              union all select 'pg_statistic_ext'::regclass, oid, stxowner from pg_statistic_ext where stxnamespace not in (select oid from skipped_schema)
              union all select 'pg_event_trigger'::regclass, oid, evtowner from pg_event_trigger) o (class, oid, owner)
        cross join lateral pg_identify_object(class, o.oid, 0) i
        where not exists (select from of_extension where classid = class and objid = o.oid)
        union all
        select 'statistics target', format('%I.%I', n.nspname, stxname), body(nullif(stxstattarget, -1)), 'pg_statistic_ext'::regclass, s.oid
        from pg_statistic_ext s join pg_namespace n on n.oid = s.stxnamespace where s.stxnamespace not in (select oid from skipped_schema)
        union all
        select 'user mapping', format('%I on %I', usename, srvname), (select string_agg(o, ',' order by o) from unnest(umoptions) o where o !~* secret()),
               'pg_user_mapping'::regclass, umid
        from pg_user_mappings
        union all
        select 'subscription', quote_ident(subname), body(subowner::regrole, subslotname, subsynccommit, subpublications), 'pg_subscription'::regclass, oid
        from pg_subscription where subdbid = (select oid from pg_database where datname = current_database())
        union all
        select 'extension rights', concat_ws(' ', i.type, i.identity), rights, class, objid
        from (select 'pg_proc'::regclass, oid, proacl, acl(proacl, 'f', proowner) from pg_proc where proacl is not null
              union all
              select 'pg_class'::regclass, oid, relacl, acl(relacl, case relkind when 'S' then 's' else 'r' end::"char", relowner)
              from pg_class where relacl is not null) o (class, objid, acl, rights)
        cross join lateral pg_identify_object(class, o.objid, 0) i
        where exists (select from of_extension e where e.classid = class and e.objid = o.objid)
          and not exists (select from pg_init_privs p where p.classoid = class and p.objoid = o.objid and p.objsubid = 0 and p.initprivs = o.acl)
        union all
        select 'large object rights', 'all', body(sum(hashtextextended(body(oid, lomowner::regrole, acl(lomacl, 'L', lomowner)), 0))),
               'pg_largeobject_metadata'::regclass, null
        from pg_largeobject_metadata having count(*) > 0
        union all
        select 'comment', concat_ws(' ', i.type, i.identity), description, 'pg_description'::regclass, objoid
        from pg_description d cross join lateral pg_identify_object(classoid, objoid, objsubid) i
        where (objoid >= 16384 or classoid = 'pg_namespace'::regclass and objoid = 'public'::regnamespace) and i.identity is not null
          and coalesce(i.schema, '') !~ '^"?pg_(temp|toast_temp)_' and i.identity !~ ' on pg_temp'
          and not exists (select from of_extension e where e.classid = classoid and e.objid = objoid)
          and not exists (select from left_out_constraint l where classoid = 'pg_constraint'::regclass and l.oid = objoid)
          and not exists (select from invalid_index l where classoid = 'pg_class'::regclass and l.oid = objoid)
        union all
        select 'database comment', 'the database', description, 'pg_shdescription'::regclass, objoid from pg_shdescription
        where classoid = 'pg_database'::regclass and objoid = (select oid from pg_database where datname = current_database())
        union all
        select 'security label', concat_ws(' ', provider, objtype, objname), label, 'pg_seclabel'::regclass, objoid from pg_seclabels
        where classoid not in ('pg_authid'::regclass, 'pg_tablespace'::regclass, 'pg_database'::regclass)"#,
    ),
    (
        15,
        r#"
        union all
        select 'publication schemas', quote_ident(pubname), (select string_agg(pnnspid::regnamespace::text, ',' order by pnnspid::regnamespace::text)
               from pg_publication_namespace where pnpubid = p.oid), 'pg_publication'::regclass, p.oid
        from pg_publication p where exists (select from pg_publication_namespace where pnpubid = p.oid)"#,
    ),
    (
        17,
        r#"
        union all
        select 'rights to maintain', name, (
               select string_agg(format('%s%s by %s', grantee::regrole, case when is_grantable then ' with grant option' end, grantor::regrole), ',' order by grantee, grantor)
               from aclexplode(relacl) where privilege_type = 'MAINTAIN' and grantee <> relowner), 'pg_class'::regclass, oid
        from relation where relkind in ('r', 'p', 'v', 'm') and exists (
            select from aclexplode(relacl) where privilege_type = 'MAINTAIN' and grantee <> relowner)"#,
    ),
];

/// Kinds that these parts give.
pub(super) const KINDS: [&str; 23] = [
    "access method",
    "column options",
    "column order",
    "comment",
    "conversion",
    "database comment",
    "domain constraint",
    "extension rights",
    "language",
    "large object rights",
    "object owner",
    "operator class",
    "operator family",
    "publication schemas",
    "rights to maintain",
    "security label",
    "statistics target",
    "subscription",
    "table options",
    "text search",
    "transform",
    "type options",
    "user mapping",
];
