//! The tables, once for both databases; `migrations/` creates them.

diesel::table! {
    server (id) {
        id -> Integer,
        epoch -> Text,
        trimmed_through -> BigInt,
        oldest -> Text,
        message_retention -> Nullable<BigInt>,
    }
}

diesel::table! {
    retention (id) {
        id -> Integer,
        messages_from -> BigInt,
    }
}

diesel::table! {
    users (id) {
        id -> BigInt,
        name -> Text,
        name_key -> Text,
        email -> Nullable<Text>,
        email_key -> Nullable<Text>,
        created_at -> BigInt,
        erased_at -> Nullable<BigInt>,
        password_hash -> Nullable<Text>,
        role -> SmallInt,
        trimmed_through -> BigInt,
        suspended_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    name_words (word, user_id) {
        word -> Text,
        user_id -> BigInt,
    }
}

diesel::table! {
    sessions (id) {
        id -> BigInt,
        user_id -> BigInt,
        device -> Nullable<Text>,
        refresh_hash -> Binary,
        created_at -> BigInt,
        last_used_at -> BigInt,
        expires_at -> BigInt,
        ended_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    service_tokens (id) {
        id -> BigInt,
        name -> Text,
        token_hash -> Binary,
        created_at -> BigInt,
        revoked_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    audit (id) {
        id -> BigInt,
        at -> BigInt,
        actor -> Text,
        session_id -> Nullable<BigInt>,
        action -> Text,
        user_id -> Nullable<BigInt>,
        object -> Nullable<Text>,
    }
}

diesel::table! {
    attempts (key) {
        key -> BigInt,
        count -> Integer,
        expires_at -> BigInt,
    }
}

diesel::table! {
    blocks (user_id, blocked_id) {
        user_id -> BigInt,
        blocked_id -> BigInt,
        created_at -> BigInt,
    }
}

diesel::table! {
    messages (id) {
        id -> BigInt,
        sender_id -> BigInt,
        receiver_id -> BigInt,
        low_id -> BigInt,
        high_id -> BigInt,
        content -> Text,
        reply_to_id -> Nullable<BigInt>,
        client_id -> Nullable<Text>,
        client_digest -> Nullable<Binary>,
        version -> Integer,
        created_at -> BigInt,
        edited_at -> Nullable<BigInt>,
        deleted_at -> Nullable<BigInt>,
    }
}

diesel::table! {
    erasures (user_id) {
        user_id -> BigInt,
    }
}

diesel::table! {
    user_changes (user_id) {
        user_id -> BigInt,
        #[sql_name = "told_through"]
        notified_through -> BigInt,
    }
}

diesel::table! {
    members (user_id, peer_id) {
        user_id -> BigInt,
        peer_id -> BigInt,
        last_message_id -> BigInt,
        delivered_through -> BigInt,
        delivered_at -> BigInt,
        read_through -> BigInt,
        read_at -> BigInt,
        unread -> BigInt,
    }
}

diesel::table! {
    events (id) {
        id -> BigInt,
        user_id -> BigInt,
        kind -> SmallInt,
        message_id -> BigInt,
        peer_id -> BigInt,
        at -> BigInt,
    }
}

diesel::table! {
    identities (issuer, subject) {
        issuer -> Text,
        subject -> Text,
        user_id -> BigInt,
    }
}

diesel::table! {
    indexing (id) {
        id -> Integer,
        words_from -> BigInt,
        words_version -> Integer,
        words_through -> BigInt,
    }
}

diesel::table! {
    index_changes (message_id) {
        message_id -> BigInt,
        is_removed -> Bool,
    }
}

diesel::table! {
    embedding_models (id) {
        id -> BigInt,
        identity -> Text,
        dimensions -> Integer,
        from_id -> BigInt,
        through_id -> BigInt,
    }
}

diesel::table! {
    embedding_chunks (id) {
        id -> BigInt,
        model_id -> BigInt,
        low_id -> BigInt,
        high_id -> BigInt,
        entries -> Binary,
        vectors -> Binary,
    }
}

diesel::table! {
    embedding_failures (model_id, message_id) {
        model_id -> BigInt,
        message_id -> BigInt,
        attempts -> Integer,
        retry_at -> BigInt,
    }
}

diesel::joinable!(identities -> users (user_id));
diesel::joinable!(sessions -> users (user_id));
diesel::joinable!(user_changes -> users (user_id));
diesel::joinable!(blocks -> users (blocked_id));
diesel::allow_tables_to_appear_in_same_query!(users, messages, members, events, sessions, blocks, identities);
diesel::allow_tables_to_appear_in_same_query!(messages, erasures, index_changes, retention);
diesel::allow_tables_to_appear_in_same_query!(embedding_models, embedding_failures);
diesel::allow_tables_to_appear_in_same_query!(users, name_words);
diesel::allow_tables_to_appear_in_same_query!(users, user_changes);
