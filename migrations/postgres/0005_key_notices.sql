-- Tells edges which cached keys are no longer right: NOTIFY on the channel `cfx_keys`, delivered at commit. The payload
-- is the public id of the one key that a statement changed, or `*` where it changed several, or an account: then every
-- cached key is to be forgotten. One notice a statement, so that a bulk load of a million keys sends one.
--
-- When a key was last used is no change of the key. A new account has no keys anyone could have cached.

create function cfx.notify_keys(changed text[]) returns void
    language sql
    set search_path = pg_catalog, pg_temp
as $$
    select pg_notify('cfx_keys', case when cardinality(changed) = 1 then changed[1] else '*' end)
    where cardinality(changed) > 0
$$;

create function cfx.keys_added() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform cfx.notify_keys(array(select public_id from added limit 2));
    return null;
end
$$;

create function cfx.keys_removed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform cfx.notify_keys(array(select public_id from removed limit 2));
    return null;
end
$$;

create function cfx.keys_changed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    -- A key whose public id itself changed is two names: both must be forgotten.
    perform cfx.notify_keys(array(
        select public_id
        from (
            select id, user_id, public_id, prefix, key_hash, label, status, stages, models, daily_requests, created_at,
                   expires_at, revoked_at, replaces, retires_at
            from after_change
            except
            select id, user_id, public_id, prefix, key_hash, label, status, stages, models, daily_requests, created_at,
                   expires_at, revoked_at, replaces, retires_at
            from before_change
        ) as changed
        union
        select public_id from before_change where public_id not in (select public_id from after_change)
        limit 2
    ));
    return null;
end
$$;

create function cfx.all_keys_changed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform pg_notify('cfx_keys', '*');
    return null;
end
$$;

create function cfx.accounts_changed() returns trigger
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    if exists (select * from before_change except select * from after_change) then
        perform pg_notify('cfx_keys', '*');
    end if;
    return null;
end
$$;

create trigger keys_added after insert on public.api_keys
    referencing new table as added
    for each statement execute function cfx.keys_added();
create trigger keys_changed after update on public.api_keys
    referencing old table as before_change new table as after_change
    for each statement execute function cfx.keys_changed();
create trigger keys_removed after delete on public.api_keys
    referencing old table as removed
    for each statement execute function cfx.keys_removed();
create trigger keys_emptied after truncate on public.api_keys
    for each statement execute function cfx.all_keys_changed();

create trigger accounts_changed after update on cfx.accounts
    referencing old table as before_change new table as after_change
    for each statement execute function cfx.accounts_changed();
create trigger accounts_removed after delete on cfx.accounts
    for each statement execute function cfx.all_keys_changed();

revoke all on all functions in schema cfx from public;
