//! Demo data: realistic users and messages, the same for the same seed.

use rand::{Rng, RngExt, SeedableRng, seq::IndexedRandom};
use rand_chacha::ChaCha8Rng;

use super::imports::{Line, MessageLine, UserLine};
use crate::model::timestamps::Timestamp;

/// One pair has this share of all messages, one in …
const BUSY_SHARE: u32 = 10;
/// … but no more than this.
const BUSY_MAX: u32 = 10_000;
/// 2026-01-01T00:00:00Z, in milliseconds: when the first user joins.
const BEGINNING: i64 = 1_767_225_600_000;

const FIRST_NAMES: [&str; 40] = [
    "Ada", "Amara", "Anders", "Björk", "Carlos", "Chidi", "Dagny", "Daniel", "Elif", "Emma", "Farid", "Freya",
    "Gabriela", "Hana", "Hugo", "Ines", "Ivan", "Jae-won", "Jana", "Kofi", "Lena", "Linh", "Mateo", "Mei", "Mina",
    "Nadia", "Noah", "Olga", "Omar", "Priya", "Quentin", "Rosa", "Samir", "Sofia", "Tariq", "Uma", "Wei", "Ximena",
    "Yuki", "Zoë",
];
const LAST_NAMES: [&str; 40] = [
    "Abbott",
    "Almeida",
    "Andersen",
    "Baptiste",
    "Bianchi",
    "Chen",
    "Costa",
    "Dubois",
    "Eriksson",
    "Farah",
    "Fischer",
    "García",
    "Haddad",
    "Horvat",
    "Ibrahim",
    "Ivanova",
    "Jensen",
    "Kaya",
    "Kim",
    "Kowalski",
    "Lindqvist",
    "López",
    "Mbeki",
    "Murphy",
    "Nakamura",
    "Nguyen",
    "Novák",
    "Okafor",
    "Olsen",
    "Patel",
    "Petrov",
    "Quispe",
    "Rossi",
    "Sato",
    "Schmidt",
    "Silva",
    "Tanaka",
    "Weber",
    "Yılmaz",
    "Zhang",
];
const OPENINGS: [&str; 24] = [
    "Hey,",
    "Hi!",
    "Morning!",
    "Quick question:",
    "By the way,",
    "Guess what:",
    "So,",
    "Honestly,",
    "Good news:",
    "Oh no,",
    "Okay,",
    "Wow,",
    "Sorry,",
    "Right,",
    "Listen,",
    "Um,",
    "Yes!",
    "No,",
    "Haha,",
    "Finally:",
    "PS:",
    "Well,",
    "Sure,",
    "Hm,",
];
const MIDDLES: [&str; 36] = [
    "are you around later",
    "the train is late again",
    "I found your keys",
    "dinner at seven works for me",
    "did you see the match yesterday",
    "the build is green",
    "can you send me the address",
    "I will be ten minutes late",
    "the meeting moved to Thursday",
    "that was the best coffee in weeks",
    "I left the tickets on your desk",
    "could you look at my draft",
    "it rained all day here",
    "the cat is asleep on the keyboard",
    "we should do that again",
    "I am at the station now",
    "your parcel arrived",
    "let us talk tomorrow",
    "the photos came out well",
    "I forgot the password once more",
    "who brings the cake",
    "the new office has a view of the river",
    "my phone died on the way",
    "thank you for yesterday",
    "I have read it twice now",
    "call me when you are home",
    "the recipe needs more lemon",
    "there is a seat next to me",
    "the demo went fine",
    "I booked the early flight",
    "happy to help",
    "that sounds like a plan",
    "I will think about it",
    "no hurry at all",
    "see you at the corner",
    "the line is really long",
];
const ENDINGS: [&str; 20] = [
    ".",
    "!",
    "?",
    "…",
    " 😀",
    " 🎉",
    " 👍",
    " ❤️",
    " 😅",
    " 🙈",
    " ☕",
    " 🌧️",
    " 👩‍💻",
    " 🚲",
    " okay?",
    " for real.",
    " I think.",
    " as always.",
    " right?",
    " 🇳🇴",
];
const ELSEWHERE: [&str; 16] = [
    "明天见！",
    "我在路上了，十分钟后到。",
    "这个周末有空吗？",
    "照片真好看 📷",
    "お疲れさまです！",
    "今日は雨ですね。☔",
    "了解しました。",
    "駅に着いたら連絡します。",
    "지금 가고 있어요.",
    "내일 봐요! 👋",
    "점심 같이 먹을래요?",
    "¿Vienes esta noche?",
    "À demain !",
    "أراك غدًا",
    "Увидимся завтра",
    "Bis gleich 🙂",
];

/// As many lines of users, and then of messages between them in the order of time.
pub fn lines(users: u32, messages: u32, seed: u64) -> impl Iterator<Item = Line> + Send {
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let mut names = ChaCha8Rng::seed_from_u64(!seed);
    let busy = (messages / BUSY_SHARE).min(BUSY_MAX);
    let mut time = BEGINNING + i64::from(users) * 60_000;
    let user_lines = (1..=users).map(move |number| Line::User(user(&mut names, number, seed)));
    let message_lines = (1..=messages).map(move |number| {
        time += dice.random_range(1_000..60_000);
        // The busy pair's messages are spread evenly among the others.
        let in_turn = |number: u32| u64::from(number) * u64::from(busy) / u64::from(messages.max(1));
        let pair = if in_turn(number) > in_turn(number - 1) { (1, 2) } else { pair(&mut dice, users) };
        Line::Message(message(&mut dice, number, pair, time))
    });
    user_lines.chain(message_lines)
}

fn user(dice: &mut impl Rng, number: u32, seed: u64) -> UserLine {
    let (first, last) = (any(dice, &FIRST_NAMES), any(dice, &LAST_NAMES));
    UserLine {
        id: number.into(),
        name: format!("{first} {last}"),
        email: format!("{}.{number}@demo-{seed}.example.com", first.to_lowercase()),
        created_at: Timestamp::from_milliseconds(BEGINNING + i64::from(number) * 60_000).to_string(),
    }
}

fn message(dice: &mut impl Rng, number: u32, (one, other): (u32, u32), time: i64) -> MessageLine {
    let (sender, receiver) = if dice.random_bool(0.5) { (one, other) } else { (other, one) };
    MessageLine {
        id: number.into(),
        sender_id: sender.into(),
        receiver_id: receiver.into(),
        content: text(dice),
        created_at: Timestamp::from_milliseconds(time).to_string(),
    }
}

/// Two different users who know each other: people write to few others, most to those near them in the list.
fn pair(dice: &mut impl Rng, users: u32) -> (u32, u32) {
    let one = dice.random_range(1..=users);
    let distance = dice.random_range(1..=8.min(users - 1));
    let other = (one - 1 + distance) % users + 1;
    (one, other)
}

fn text(dice: &mut impl Rng) -> String {
    if dice.random_ratio(1, 8) {
        return any(dice, &ELSEWHERE).to_owned();
    }
    let text = format!("{} {}{}", any(dice, &OPENINGS), any(dice, &MIDDLES), any(dice, &ENDINGS));
    if dice.random_ratio(1, 6) {
        let middle = any(dice, &MIDDLES);
        return format!("{text} Also, {middle}{}", any(dice, &ENDINGS));
    }
    text
}

fn any(dice: &mut impl Rng, list: &[&'static str]) -> &'static str {
    list.choose(dice).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_data() {
        let some = |seed| lines(50, 500, seed).collect::<Vec<_>>();
        assert_eq!(some(1), some(1));
        assert_ne!(some(1), some(2));
    }

    #[test]
    fn one_pair_has_a_tenth_of_the_messages_and_everyone_else_some() {
        let mut pairs: HashMap<(i64, i64), u32> = HashMap::new();
        for line in lines(100, 20_000, 1) {
            if let Line::Message(MessageLine { sender_id, receiver_id, .. }) = line {
                assert_ne!(sender_id, receiver_id);
                *pairs.entry((sender_id.min(receiver_id), sender_id.max(receiver_id))).or_default() += 1;
            }
        }
        let busy = pairs.remove(&(1, 2)).unwrap();
        assert!((2_000..2_100).contains(&busy), "{busy}");
        assert!(pairs.values().all(|count| *count < 200));
    }
}
