-- The months of `request_logs`: tables `cfx.request_logs_YYYY_MM`, in a schema that no API exposes.

-- Takes from a table what default privileges gave away, and turns row security on without a policy: only the owner,
-- and roles above row security, are left. Whom default privileges favour differs from server to server (Supabase:
-- three roles), so what was given is read from the table itself.
create function cfx.close_table(target regclass) returns void
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
declare
    grantee text;
begin
    execute format('alter table %s enable row level security', target);
    for grantee in
        select distinct case when acl.grantee = 0 then 'public' else quote_ident(role.rolname) end
        from pg_class as class
        cross join lateral aclexplode(class.relacl) as acl
        left join pg_roles as role on role.oid = acl.grantee
        where class.oid = target and acl.grantee <> class.relowner
    loop
        execute format('revoke all on table %s from %s', target, grantee);
    end loop;
end
$$;

-- Makes the partitions of `months` months, the first of them the one of `first`, where they are missing. Yields how
-- many were made. Rows of other months are only refused for want of a partition, so that who writes an old row calls
-- this for its month first.
--
-- A table is made and closed by itself and then attached, because that lets readers and writers of the others go on,
-- and because nobody but the owner can see it in between.
create function cfx.ensure_partitions(first date, months integer) returns integer
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set lock_timeout = '5s'
as $$
declare
    starts date := date_trunc('month', first)::date;
    ends   date;
    name   text;
    made   integer := 0;
begin
    if first is null or months is null or months < 1 or months > 120 then
        raise exception 'cfx.ensure_partitions: % months from %: 1 to 120 months can be made at a time', months, first
            using errcode = 'invalid_parameter_value';
    end if;
    for step in 1..months loop
        ends := (starts + interval '1 month')::date;
        name := 'request_logs_' || to_char(starts, 'YYYY_MM');
        if to_regclass(format('cfx.%I', name)) is null then
            -- Two edges find a month missing at the same moment; the second waits here and finds it made. It looks
            -- into the catalogue itself: what a look-up by name found missing is remembered as missing.
            perform pg_advisory_xact_lock(hashtextextended('cfx.ensure_partitions', 0));
            perform from pg_class where relnamespace = 'cfx'::regnamespace and relname = name;
            if not found then
                execute format('create table cfx.%I (like public.request_logs including defaults including generated)',
                               name);
                perform cfx.close_table(format('cfx.%I', name)::regclass);
                -- Rows are only added, so that without this no vacuum would come by for the index-only reads.
                execute format('alter table cfx.%I set (autovacuum_vacuum_insert_scale_factor = 0.05)', name);
                execute format('alter table public.request_logs attach partition cfx.%I for values from (%L) to (%L)',
                               name, starts::timestamptz, ends::timestamptz);
                made := made + 1;
            end if;
        end if;
        starts := ends;
    end loop;
    return made;
end
$$;

-- Drops the months that ended more than `keep_months` whole months before the present one began. Yields how many.
-- Waits for its lock no longer than 2 s: whoever asks for the log meanwhile queues behind it.
create function cfx.drop_expired_partitions(keep_months integer) returns integer
    language plpgsql
    set search_path = pg_catalog, pg_temp
    set timezone = 'UTC'
    set lock_timeout = '2s'
as $$
declare
    oldest  text;
    expired regclass;
    dropped integer := 0;
begin
    if keep_months is null or keep_months < 1 then
        raise exception 'cfx.drop_expired_partitions: % months: at least one month is kept', keep_months
            using errcode = 'invalid_parameter_value';
    end if;
    oldest := 'request_logs_' || to_char(date_trunc('month', now()) - make_interval(months => keep_months), 'YYYY_MM');
    for expired in
        select child.oid::regclass
        from pg_inherits as link
        join pg_class as child on child.oid = link.inhrelid
        join pg_namespace as schema on schema.oid = child.relnamespace
        where link.inhparent = 'public.request_logs'::regclass
          and schema.nspname = 'cfx'
          and child.relname ~ '^request_logs_\d{4}_\d{2}$'
          and child.relname::text collate "C" < oldest collate "C"
    loop
        execute format('drop table %s', expired);
        dropped := dropped + 1;
    end loop;
    return dropped;
end
$$;

-- The month past, for rows that were on their way when it ended, this one, and three ahead.
select cfx.ensure_partitions(((now() at time zone 'UTC') - interval '1 month')::date, 5);
