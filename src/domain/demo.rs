//! Demo data: realistic users and messages up to now, the same for the same seed.

use std::{collections::HashMap, time::Duration};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Viewer, demo_marks,
    demo_texts::{name, text},
    imports::{Count, ImportError, Line, MessageLine, UserLine, import},
    policy,
};
use crate::{
    app::App,
    model::{texts::Email, timestamps::Timestamp},
    store,
};

/// One of so many messages is of one busy pair.
const BUSY_SHARE: u32 = 10;
/// Messages of the busy pair, at most.
const BUSY_MAX: u32 = 10_000;
/// So long before the last message is the first one.
const SPAN: Duration = Duration::from_hours(30 * 24);
/// Between two users who join.
const JOIN_INTERVAL: Duration = Duration::from_mins(1);
/// At most so many messages follow each other when two people talk.
const MAX_TALK: u32 = 9;

/// How much demo data.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Users, 2 or more.
    pub users: u32,
    /// Messages.
    pub messages: u32,
    /// The same seed makes the same users and messages.
    pub seed: u64,
}

/// Makes the data and marks most of it as read; `progress` is called for each line. `None` if there are users of this seed
/// already.
pub async fn make(
    app: &App,
    viewer: &Viewer,
    size: Size,
    mut progress: impl FnMut() + Send + 'static,
) -> Result<Option<Count>, ImportError> {
    policy::require_operator(viewer)?;
    let end = app.now();
    let lines = move || lines(size.users, size.messages, size.seed, end);
    let Some(first) = lines().find_map(address) else { return Ok(None) };
    if app.store.read(move |conn| store::users::by_email(conn, &first)).await?.is_some() {
        return Ok(None);
    }
    let numbered = (1..).zip(lines().inspect(move |_| progress()).map(Ok));
    let count = import(app, viewer, numbered).await?;
    let mark = move |conn: &mut store::Conn<'_>| {
        let mut users = HashMap::new();
        for (number, address) in (1..).zip(lines().map_while(address)) {
            users.extend(store::users::by_email(conn, &address)?.map(|(user, _)| (number, user.id)));
        }
        demo_marks::set(conn, lines(), &users, size.seed, end)
    };
    app.store.write(mark).await?;
    Ok(Some(count))
}

/// The address of a user; `None` for any other line.
fn address(line: Line) -> Option<Email> {
    match line {
        Line::User(user) => Email::parse(&user.email?).ok(),
        Line::Export(_) | Line::Message(_) | Line::Marks(_) | Line::Block(_) | Line::Session(_) => None,
    }
}

/// As many lines of users, and then of messages between them in the order of time; the last one is written at `end`.
pub fn lines(users: u32, messages: u32, seed: u64, end: Timestamp) -> impl Iterator<Item = Line> + Send {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut names = ChaCha8Rng::seed_from_u64(!seed);
    let user_lines = (1..=users).map(move |number| {
        let joined = end.earlier(SPAN + JOIN_INTERVAL * (users - number + 1));
        Line::User(user(&mut names, number, seed, joined))
    });
    let busy = (messages / BUSY_SHARE).min(BUSY_MAX);
    let interval = SPAN / messages.max(1);
    let mut talk = Talk { pair: (1, 2), left: 0, time: end.earlier(SPAN) };
    let message_lines = (1..=messages).map(move |number| {
        let latest = end.earlier(interval * (messages - number));
        // The busy pair's messages are spread evenly among the others.
        let in_turn = |number: u32| u64::from(number) * u64::from(busy) / u64::from(messages.max(1));
        let pair = if in_turn(number) > in_turn(number - 1) {
            talk.time = latest;
            (1, 2)
        } else {
            talk.next(&mut dice, users, latest)
        };
        Line::Message(message(&mut dice, number, pair, talk.time))
    });
    user_lines.chain(message_lines)
}

/// Two people talk for a while, before others do.
struct Talk {
    pair: (u32, u32),
    left: u32,
    time: Timestamp,
}

impl Talk {
    /// Who talks now: within a talk after some seconds, and never later than at `latest`.
    fn next(&mut self, dice: &mut impl Rng, users: u32, latest: Timestamp) -> (u32, u32) {
        if self.left == 0 {
            self.pair = pair(dice, users);
            self.left = dice.random_range(0..MAX_TALK);
            self.time = latest;
        } else {
            self.left -= 1;
            self.time = latest.min(self.time.later(Duration::from_millis(dice.random_range(3_000..90_000))));
        }
        self.pair
    }
}

fn user(dice: &mut impl Rng, number: u32, seed: u64, joined: Timestamp) -> UserLine {
    let (first, last) = name(dice);
    UserLine {
        id: number.into(),
        name: format!("{first} {last}"),
        email: Some(format!("{}.{number}@demo-{seed}.example.com", first.to_lowercase())),
        created_at: joined.to_string(),
        ..UserLine::default()
    }
}

fn message(dice: &mut impl Rng, number: u32, (one, other): (u32, u32), time: Timestamp) -> MessageLine {
    let (sender, receiver) = if dice.random_bool(0.5) { (one, other) } else { (other, one) };
    MessageLine {
        id: number.into(),
        sender_id: sender.into(),
        receiver_id: receiver.into(),
        content: text(dice),
        created_at: time.to_string(),
        ..MessageLine::default()
    }
}

/// Two different users who know each other: people write to few others, and most to those next to them in the list.
fn pair(dice: &mut impl Rng, users: u32) -> (u32, u32) {
    let one = dice.random_range(1..=users);
    let mut distance = || dice.random_range(1..=8.min(users - 1));
    let other = (one - 1 + distance().min(distance())) % users + 1;
    (one, other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> Timestamp {
        Timestamp::from_milliseconds(1_800_000_000_000)
    }

    fn messages(users: u32, messages: u32) -> Vec<MessageLine> {
        let only = |line| if let Line::Message(message) = line { Some(message) } else { None };
        lines(users, messages, 1, end()).filter_map(only).collect()
    }

    #[test]
    fn the_same_seed_makes_the_same_data() {
        let some = |seed| lines(50, 500, seed, end()).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn one_pair_has_a_tenth_of_the_messages_and_everyone_else_some_or_more() {
        let mut pairs: HashMap<(i64, i64), u32> = HashMap::new();
        for MessageLine { sender_id, receiver_id, .. } in messages(100, 20_000) {
            assert_ne!(sender_id, receiver_id);
            *pairs.entry((sender_id.min(receiver_id), sender_id.max(receiver_id))).or_default() += 1;
        }
        let busy = pairs.remove(&(1, 2)).unwrap();
        assert!((2_000..2_100).contains(&busy), "{busy}");
        assert!(pairs.values().all(|count| *count < 200));
        assert!(pairs.values().min() < Some(&8) && pairs.values().max() > Some(&60), "{pairs:?}");
    }

    #[test]
    fn messages_are_of_all_lengths_and_come_up_to_now_in_the_order_of_time() {
        let messages = messages(20, 2_000);
        let times: Vec<Timestamp> = messages.iter().map(|message| message.created_at.parse().unwrap()).collect();
        assert!(times.is_sorted());
        assert_eq!(times.last(), Some(&end()));
        assert!(times.iter().all(|time| *time >= end().earlier(SPAN)));
        let lengths: Vec<_> = messages.iter().map(|message| message.content.chars().count()).collect();
        assert!(lengths.iter().any(|length| *length <= 2) && lengths.iter().any(|length| *length > 600));
        assert!(messages.iter().any(|message| message.content.contains("https://")));
        assert!(messages.iter().any(|message| message.content.contains('\n')));
    }
}
