//! What it costs a send that SQLite overwrites what is deleted (`secure_delete`): in one process, in turns with and without, in CPU
//! time; `docs/concepts/performance.md` has a run. It ends with an error where the limit below is not kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]

mod common;

use std::process::ExitCode;

use common::{cpu, filled, median};
use diesel::connection::SimpleConnection;
use duologue::{
    app::App,
    domain::{Viewer, indexing, messages},
    model::{ids::UserId, messages::Draft, texts::Content},
    store::{Conn, Error},
};
use futures_util::{StreamExt, stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const USERS: u32 = 1_250;
const MESSAGES: u32 = 200_000;
const ROUNDS: usize = 41;
const SENDS: u32 = 2_000;
const SENDS_AT_ONCE: usize = 32;
/// The most that it costs, as a ratio.
const LIMIT: f64 = 1.03;

/// Switches it for the writer.
async fn overwrite(app: &App, on: bool) {
    let switch = move |conn: &mut Conn<'_>| match conn {
        Conn::Sqlite(c) => {
            Ok(c.batch_execute(if on { "PRAGMA secure_delete = ON" } else { "PRAGMA secure_delete = OFF" })?)
        }
        Conn::Postgres(_) => unreachable!(),
    };
    app.store.write::<_, Error>(switch).await.unwrap();
}

/// CPU microseconds of a message between a random pair, whose words are indexed, too.
async fn sends(app: &App, dice: &mut ChaCha8Rng) -> f64 {
    let viewer = Viewer::operator(app);
    let drafts: Vec<Draft> = (0..SENDS)
        .map(|number| {
            let sender = dice.random_range(0..USERS);
            let receiver = (sender + dice.random_range(1..USERS)) % USERS;
            let user = |index: u32| UserId::new((index + 1).into()).unwrap();
            let content = format!("Lunch at noon? I know a place, it is number {number:04}.");
            Draft {
                sender_id: user(sender),
                receiver_id: user(receiver),
                content: Content::parse(content).unwrap(),
                reply_to_id: None,
                client_id: None,
            }
        })
        .collect();
    let begun = cpu();
    let sending = stream::iter(drafts).map(|draft| messages::send(app, &viewer, draft)).buffer_unordered(SENDS_AT_ONCE);
    sending.for_each(async |sent| drop(sent.unwrap())).await;
    indexing::index_words(app).await.unwrap();
    (cpu() - begun) * 1e6 / f64::from(SENDS)
}

#[tokio::main]
async fn main() -> ExitCode {
    let (app, _folder) = filled(USERS, MESSAGES).await;
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        overwrite(&app, true).await;
        with.push(sends(&app, &mut dice).await);
        overwrite(&app, false).await;
        without.push(sends(&app, &mut dice).await);
    }
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without));
    println!("| a send and its words, CPU us | overwriting what is deleted | leaving it | ratio | at most | holds |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let holds = if ratio <= LIMIT { "yes" } else { "**no**" };
    println!(
        "| median | {:.1} | {:.1} | {ratio:.3} | {LIMIT} | {holds} |",
        median(with.into_iter()),
        median(without.into_iter())
    );
    app.close().await;
    if ratio <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
