//! Typed ids: 64-bit keys in the database, `usr_1`, `msg_42`, `cnv_1_2` and `ses_7` outside.
//!
//! Not here: whether the thing that an id names exists.

use std::{fmt, str::FromStr};

use diesel::{
    backend::Backend,
    deserialize::{self, FromSql, FromSqlRow},
    expression::AsExpression,
    serialize::{self, Output, ToSql},
    sql_types::BigInt,
};

/// The highest key: numbers up to it are exact in every client, and the databases never run out of those after it.
pub const MAX_KEY: i64 = (1 << 53) - 1;

/// The text is no id of the wanted type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("This is not {0}. Ids look like {1}.")]
pub struct NotAnId(&'static str, &'static str);

/// A key of one table: shown with its prefix, read with the prefix or as a bare number.
macro_rules! key {
    ($(#[$docs:meta])* $Id:ident, $prefix:literal, $what:literal, $example:literal) => {
        $(#[$docs])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, AsExpression, FromSqlRow)]
        #[diesel(sql_type = BigInt)]
        pub struct $Id(i64);

        impl $Id {
            /// The lowest one.
            pub const MIN: Self = Self(1);
            /// The highest one.
            pub const MAX: Self = Self(MAX_KEY);

            /// The id with this key; `None` unless it is from 1 to [`MAX_KEY`].
            #[must_use]
            pub fn new(key: i64) -> Option<Self> {
                (1..=MAX_KEY).contains(&key).then_some(Self(key))
            }

            /// The key in the database.
            #[must_use]
            pub fn key(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $Id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl FromStr for $Id {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                text.strip_prefix(concat!($prefix, "_"))
                    .or(Some(text))
                    .and_then(key_from)
                    .map(Self)
                    .ok_or(NotAnId($what, $example))
            }
        }

        impl<DB: Backend> ToSql<BigInt, DB> for $Id
        where
            i64: ToSql<BigInt, DB>,
        {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
                self.0.to_sql(out)
            }
        }

        impl<DB: Backend> FromSql<BigInt, DB> for $Id
        where
            i64: FromSql<BigInt, DB>,
        {
            fn from_sql(bytes: DB::RawValue<'_>) -> deserialize::Result<Self> {
                i64::from_sql(bytes).map(Self)
            }
        }
    };
}

key!(
    /// The id of a user: `usr_1`.
    UserId, "usr", "the id of a user", "usr_1"
);
key!(
    /// The id of a message: `msg_42`. Ids of one conversation grow in the order of its messages.
    MessageId, "msg", "the id of a message", "msg_42"
);

key!(
    /// The id of a session: `ses_7`. They are random.
    SessionId, "ses", "the id of a session", "ses_7"
);
key!(
    /// The id of a service token: `svc_3`.
    ServiceTokenId, "svc", "the id of a service token", "svc_3"
);

/// The id of the conversation between two different users: `cnv_1_2`, the lower key first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConversationId {
    low: UserId,
    high: UserId,
}

impl ConversationId {
    /// The conversation of two users, in any order; `None` if they are the same one.
    #[must_use]
    pub fn between(one: UserId, other: UserId) -> Option<Self> {
        (one != other).then(|| Self::of_two(one, other))
    }

    /// The conversation of two users who are known to differ, as the schema of the database has it.
    pub(super) fn of_two(one: UserId, other: UserId) -> Self {
        Self { low: one.min(other), high: one.max(other) }
    }

    /// The other member; `None` for somebody who is not a member.
    #[must_use]
    pub fn peer_of(self, user: UserId) -> Option<UserId> {
        match user {
            user if user == self.low => Some(self.high),
            user if user == self.high => Some(self.low),
            _ => None,
        }
    }

    /// Both members, in the order of their ids.
    #[must_use]
    pub fn members(self) -> [UserId; 2] {
        [self.low, self.high]
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cnv_{}_{}", self.low.0, self.high.0)
    }
}

impl FromStr for ConversationId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        text.strip_prefix("cnv_")
            .and_then(|pair| pair.split_once('_'))
            .and_then(|(low, high)| Some((UserId(key_from(low)?), UserId(key_from(high)?))))
            .filter(|(low, high)| low < high)
            .map(|(low, high)| Self { low, high })
            .ok_or(NotAnId("the id of a conversation", "cnv_1_2"))
    }
}

/// An id of any type, as `node(id:)` takes it: always with its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnyId {
    /// `usr_1`
    User(UserId),
    /// `msg_42`
    Message(MessageId),
    /// `cnv_1_2`
    Conversation(ConversationId),
    /// `ses_7`
    Session(SessionId),
}

impl FromStr for AnyId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        match text.split_once('_') {
            Some(("usr", _)) => text.parse().map(Self::User),
            Some(("msg", _)) => text.parse().map(Self::Message),
            Some(("cnv", _)) => text.parse().map(Self::Conversation),
            Some(("ses", _)) => text.parse().map(Self::Session),
            _ => Err(NotAnId("an id", "usr_1, msg_42, cnv_1_2 or ses_7")),
        }
    }
}

/// A key from its only spelling: digits, no sign, no leading zero.
#[must_use]
pub fn key_from(digits: &str) -> Option<i64> {
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    plain.then(|| digits.parse().ok()).flatten().filter(|key| *key <= MAX_KEY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_one_spelling() {
        assert_eq!("usr_1".parse(), Ok(UserId(1)));
        assert_eq!("1".parse(), Ok(UserId(1)));
        for text in ["", "0", "-1", "+1", "01", "usr_", "usr_0", "usr_01", "usr_1 ", "msg_1", "9007199254740992", "１"]
        {
            assert!(text.parse::<UserId>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_conversation_is_two_people_in_order() {
        let [one, two] = [UserId(1), UserId(2)];
        assert_eq!(ConversationId::between(two, one).map(|id| id.to_string()).as_deref(), Some("cnv_1_2"));
        assert_eq!(ConversationId::between(one, one), None);
        for text in ["cnv_2_1", "cnv_1_1", "cnv_1", "cnv_1_2_3", "1_2"] {
            assert!(text.parse::<ConversationId>().is_err(), "{text}");
        }
    }

    #[test]
    fn any_id_wants_its_prefix() {
        assert_eq!("msg_7".parse(), Ok(AnyId::Message(MessageId(7))));
        assert!("7".parse::<AnyId>().is_err());
    }
}
