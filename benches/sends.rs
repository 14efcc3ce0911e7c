//! What it costs a send that SQLite overwrites what is deleted (`secure_delete`): in one process, in turns with and without, in CPU
//! time; `docs/concepts/performance.md` has a run. It ends with an error where the limit below is not kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a bench may fail")]
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::{process::ExitCode, time::Instant};

use clap::Parser;
use diesel::connection::SimpleConnection;
use duologue::{
    app::App,
    config::{Cli, Command},
    domain::{Viewer, demo, imports, indexing, messages},
    model::{ids::UserId, messages::Draft, texts::Content, timestamps::Timestamp},
    store::{Conn, Error},
};
use futures_util::{StreamExt, stream};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};

const USERS: u32 = 1_250;
const MESSAGES: u32 = 200_000;
const ROUNDS: usize = 41;
const SENDS: u32 = 2_000;
const SENDS_AT_ONCE: usize = 32;
/// The most that it costs, as a ratio.
const LIMIT: f64 = 1.03;

/// CPU time of this process in microseconds.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e6 + time.tv_nsec as f64 / 1e3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

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
            let sender = dice.random_range(1..=USERS);
            let receiver = (sender + dice.random_range(1..USERS)) % USERS + 1;
            let user = |number: u32| UserId::new(number.into()).unwrap();
            let content = format!("Lunch at noon? I know a place, it is number {number:04}.");
            Draft {
                sender_id: user(sender),
                receiver_id: user(if receiver == sender { sender % USERS + 1 } else { receiver }),
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
    (cpu() - begun) / f64::from(SENDS)
}

#[tokio::main]
async fn main() -> ExitCode {
    // On the disk of the project: the folder for temporary files may be small.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let url = format!("sqlite:{}", folder.path().join("chat.db").display());
    let Command::Serve(settings) = Cli::parse_from(["duologue", "serve", "--database", &url]).command else {
        unreachable!()
    };
    let begun = Instant::now();
    let app = App::open(&settings.database).await.unwrap();
    let lines = (1..).zip(demo::lines(USERS, MESSAGES, 1, Timestamp::now()).map(Ok));
    imports::import(&app, &Viewer::operator(&app), lines).await.unwrap();
    indexing::index_words(&app).await.unwrap();
    eprintln!("Made {MESSAGES} messages in {:.1} s", begun.elapsed().as_secs_f64());
    let mut dice = ChaCha8Rng::seed_from_u64(1);
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        overwrite(&app, true).await;
        with.push(sends(&app, &mut dice).await);
        overwrite(&app, false).await;
        without.push(sends(&app, &mut dice).await);
    }
    let ratio = median(with.iter().zip(&without).map(|(with, without)| with / without).collect());
    println!("| a send and its words, CPU us | overwriting what is deleted | leaving it | ratio | at most | holds |");
    println!("| --- | ---: | ---: | ---: | ---: | --- |");
    let holds = if ratio <= LIMIT { "yes" } else { "**no**" };
    println!("| median | {:.1} | {:.1} | {ratio:.3} | {LIMIT} | {holds} |", median(with), median(without));
    app.close().await;
    if ratio <= LIMIT { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
