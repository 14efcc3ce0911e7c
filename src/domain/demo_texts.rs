//! The names and the texts of the demo data.

use rand::{Rng, RngExt, seq::IndexedRandom};

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
/// What people write most is short.
const SHORT: [&str; 16] = [
    "ok",
    "👍",
    "Yes!",
    "haha",
    "😂😂😂",
    "no",
    "Where?",
    "When?",
    "On my way",
    "Thanks!",
    "same",
    "❤️",
    "Sure",
    "Later",
    "Good night 🌙",
    "?",
];
const LINKS: [&str; 6] = [
    "https://example.com/tickets/4711",
    "https://maps.example.com/?q=Station+Road+12",
    "https://photos.example.org/album/42",
    "https://recipes.example.net/lemon-tart",
    "https://example.com/drafts/river-view.pdf",
    "https://news.example.org/2026/the-late-train",
];

/// A first and a last name.
pub(super) fn name(dice: &mut impl Rng) -> (&'static str, &'static str) {
    (any(dice, &FIRST_NAMES), any(dice, &LAST_NAMES))
}

/// A message: most are a sentence, some a word, few a letter.
pub(super) fn text(dice: &mut impl Rng) -> String {
    match dice.random_range(0..48) {
        0..6 => any(dice, &ELSEWHERE).to_owned(),
        6..14 => any(dice, &SHORT).to_owned(),
        14..16 => format!("{} {}", sentence(dice), any(dice, &LINKS)),
        16..22 => format!("{} {}", sentence(dice), also(dice)),
        22..24 => letter(dice),
        _ => sentence(dice),
    }
}

fn sentence(dice: &mut impl Rng) -> String {
    format!("{} {}{}", any(dice, &OPENINGS), any(dice, &MIDDLES), any(dice, &ENDINGS))
}

fn also(dice: &mut impl Rng) -> String {
    format!("Also, {}{}", any(dice, &MIDDLES), any(dice, &ENDINGS))
}

/// Several paragraphs.
fn letter(dice: &mut impl Rng) -> String {
    let mut text = sentence(dice);
    for _ in 0..dice.random_range(3..30) {
        let blank = if dice.random_ratio(1, 4) { "\n\n" } else { " " };
        text = format!("{text}{blank}{}", if dice.random_bool(0.5) { sentence(dice) } else { also(dice) });
    }
    text
}

fn any(dice: &mut impl Rng, list: &[&'static str]) -> &'static str {
    list.choose(dice).copied().unwrap_or_default()
}
