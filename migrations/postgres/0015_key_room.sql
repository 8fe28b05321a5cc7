-- Whether a user may have one key more: fewer than `most` can be used at that time. Who asks holds the user's row until the
-- end of the transaction that makes the key, so that of two at once the second counts the first one's. In a function,
-- because what a statement counts was there when it began, and each statement of a function begins anew.
create function cfx.room_for_key(of_user uuid, most bigint, at timestamptz) returns boolean
    language plpgsql
    set search_path = pg_catalog, pg_temp
as $$
begin
    perform from cfx.accounts as account where account.id = of_user for no key update;
    return (
        select count(*) < most
        from public.api_keys as key
        where key.user_id = of_user and key.status = 'active'
          and (key.expires_at is null or key.expires_at > at) and (key.retires_at is null or key.retires_at > at)
    );
end
$$;

revoke all on function cfx.room_for_key(uuid, bigint, timestamptz) from public;
