//! How a dump changes definitions.
//!
//! pg_dump leaves out what cannot be made again, and some names are chosen by PostgreSQL when a dump is loaded. Both are
//! recorded beside the definitions: a definition that is *undumped* does not come back as it is, one that is *dumped* is what
//! comes back in its place. Physical copies are judged by the definitions themselves.

/// Prefix of the kind of a reason: the name is the kind and the name of the definition that a dump does not restore.
pub(in crate::verify) const UNDUMPED: &str = "undumped: ";
/// Prefix of the kind of a definition that a restore creates in place of another.
pub(in crate::verify) const DUMPED: &str = "dumped: ";

/// What the parts below name.
pub(super) const NAMED: &str = r#"
    , invalid_index as (
        select indexrelid as oid from pg_index i join pg_class t on t.oid = indrelid
        where not (indisvalid or t.relkind = 'p') or not indisready
    ), constraint_root (oid, root, depth) as (
        select oid, oid, 0 from pg_constraint where contype = 'f' and conparentid <> 0
        union all
        select r.oid, o.conparentid, depth + 1 from constraint_root r join pg_constraint o on o.oid = r.root and o.conparentid <> 0
    ), left_out_constraint as (
        select distinct on (oid) oid, root from constraint_root order by oid, depth desc
    ), switched_constraint as (
        select distinct tgconstraint as oid from pg_trigger where tgconstraint <> 0 and tgisinternal and tgenabled <> 'O'
    ), regranted as (
        select name, relacl, relowner from relation
        where relkind in ('r', 'p', 'v', 'm', 'f', 'S') and exists (select from aclexplode(relacl) where grantor <> relowner)
    ), extension_sequence as (
        select d.objid as oid from of_extension d join pg_extension x on x.oid = d.refobjid
        where d.classid = 'pg_class'::regclass and not coalesce(d.objid = any (x.extconfig), false)
    )"#;

/// Parts of the query over definitions.
pub(super) const PARTS: &str = r#"
    union all
    select 'undumped: invalid', concat('index ', name), null, null, null from relation where oid in (select oid from invalid_index)
    union all
    select 'undumped: derived', format('constraint %s on %s', quote_ident(conname), r.name), null, null, null
    from left_out_constraint l join pg_constraint o on o.oid = l.oid join relation r on r.oid = o.conrelid
    union all
    select 'dumped: constraint', format('derived from %s on %s for %s', (select quote_ident(conname) from pg_constraint where oid = l.root), r.name, confrelid::regclass),
           body(pg_get_constraintdef(o.oid), convalidated), null, null
    from left_out_constraint l join pg_constraint o on o.oid = l.oid join relation r on r.oid = o.conrelid
    union all
    select 'undumped: switched', format('constraint %s on %s', quote_ident(conname), r.name), null, null, null
    from switched_constraint s join pg_constraint o on o.oid = s.oid join relation r on r.oid = o.conrelid
    where o.oid not in (select oid from left_out_constraint)
    union all
    select 'dumped: constraint', format('%s on %s', quote_ident(conname), r.name),
           body(pg_get_constraintdef(o.oid), convalidated,
                (select string_agg(case when tgisinternal then 'O' else tgenabled::text end, '' order by tgtype, tgenabled) from pg_trigger where tgconstraint = o.oid)), null, null
    from switched_constraint s join pg_constraint o on o.oid = s.oid join relation r on r.oid = o.conrelid
    where o.oid not in (select oid from left_out_constraint)
    union all
    select 'undumped: version', concat('extension ', quote_ident(extname)), body(extversion), null, null from pg_extension
    union all
    select 'dumped: extension', quote_ident(extname), body(extnamespace::regnamespace), null, null from pg_extension
    union all
    select 'undumped: member', concat('foreign data wrapper ', quote_ident(fdwname)), null, null, null
    from pg_foreign_data_wrapper w join of_extension d on d.classid = 'pg_foreign_data_wrapper'::regclass and d.objid = w.oid
    union all
    select 'dumped: foreign data wrapper', quote_ident(fdwname), body(acl(fdwacl, 'F', fdwowner)), null, null
    from pg_foreign_data_wrapper w join of_extension d on d.classid = 'pg_foreign_data_wrapper'::regclass and d.objid = w.oid
    union all
    select 'undumped: position', format('sequence %I.%I', n.nspname, relname), null, null, null
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where relkind = 'S' and c.oid in (select oid from extension_sequence)
    union all
    select 'undumped: partitioned', concat('index ', x.name), null, null, null
    from pg_index i join relation x on x.oid = i.indexrelid where x.relkind = 'I' and not indisvalid
    union all
    select 'dumped: index', x.name, body(pg_get_indexdef(i.indexrelid), true, i.indisready, i.indisclustered, i.indisreplident), null, null
    from pg_index i join relation x on x.oid = i.indexrelid where x.relkind = 'I' and not indisvalid
    union all
    select 'undumped: grantor', concat('rights ', name), null, null, null from regranted
    union all
    select 'dumped: rights', name, body((
           select string_agg(distinct said, ',' order by said) from (
               select format('%s=%s%s by owner', case grantee when relowner then 'owner' else grantee::regrole::text end, privilege_type, is_grantable)
               from aclexplode(relacl) where privilege_type <> 'MAINTAIN') granted (said))), null, null
    from regranted
    union all
    select 'undumped: shell', format('operator %I.%s (%s, %s)', n.nspname, oprname, format_type(nullif(oprleft, 0), null), format_type(nullif(oprright, 0), null)),
           null, null, null
    from pg_operator o join pg_namespace n on n.oid = o.oprnamespace where oprcode = 0 and o.oid >= 16384
    union all
    select 'login trigger', quote_ident(evtname), null, null, null from pg_event_trigger where evtevent = 'login' and evtenabled <> 'D'"#;
