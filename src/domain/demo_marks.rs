//! Marks for the demo data: most people have read most of what they got.

use std::collections::{BTreeMap, HashMap};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::imports::{Line, MessageLine};
use crate::{
    model::{
        conversations::Mark,
        ids::{MessageId, UserId},
        timestamps::Timestamp,
    },
    store::{self, Conn},
};

/// How a conversation ends. Messages are named by the numbers of their lines.
#[derive(Default)]
struct Tail {
    last: i64,
    /// For each of the two, the lower one first.
    members: [Reader; 2],
}

#[derive(Default, Clone, Copy)]
struct Reader {
    /// The last message that they wrote; 0 if none.
    own: i64,
    /// How many they received since.
    since: i64,
}

/// Sets marks for the messages of these lines, which were imported; `users` has the ids of users by their numbers. What
/// people wrote themselves after a message says that they have read it.
pub(super) fn set(
    conn: &mut Conn<'_>,
    lines: impl Iterator<Item = Line>,
    users: &HashMap<i64, UserId>,
    seed: u64,
    at: Timestamp,
) -> store::Result<()> {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    for ((low, high), tail) in tails(lines) {
        let (Some(low), Some(high)) = (users.get(&low), users.get(&high)) else { continue };
        for ((user, peer), reader) in [(*low, *high), (*high, *low)].into_iter().zip(tail.members) {
            let Some(member) = store::members::by_keys(conn, &[(user, peer)])?.pop() else { continue };
            // On a database that was not empty the import has given other ids, in the same order.
            let shift = member.last_message_id.key() - tail.last;
            let mark = |number: i64| MessageId::new(number + shift).map(|message_id| Mark { message_id, at });
            let (has_read, has_arrived) = (dice.random_ratio(2, 3), dice.random_ratio(2, 3));
            let (read, unread) = if has_read { (tail.last, 0) } else { (reader.own, reader.since) };
            let delivered = if has_read || has_arrived { tail.last } else { reader.own };
            if delivered > 0
                && let Some(mark) = mark(delivered)
            {
                store::members::set_delivered(conn, (user, peer), mark)?;
            }
            if read > 0
                && let Some(mark) = mark(read)
            {
                store::members::set_read(conn, (user, peer), mark, unread)?;
            }
        }
    }
    Ok(())
}

/// By the numbers of the two users, the lower one first.
fn tails(lines: impl Iterator<Item = Line>) -> BTreeMap<(i64, i64), Tail> {
    let mut tails = BTreeMap::<_, Tail>::new();
    for line in lines {
        let Line::Message(MessageLine { id, sender_id, receiver_id, .. }) = line else { continue };
        let tail = tails.entry((sender_id.min(receiver_id), sender_id.max(receiver_id))).or_default();
        let [low, high] = &mut tail.members;
        let (sender, receiver) = if sender_id < receiver_id { (low, high) } else { (high, low) };
        *sender = Reader { own: id, since: 0 };
        receiver.since += 1;
        tail.last = id;
    }
    tails
}
