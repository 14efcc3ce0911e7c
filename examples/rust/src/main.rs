//! Ada writes to Bob, each line that you type; Bob follows the conversation, across lost connections.
//!
//! ```sh
//! cargo run -- http://127.0.0.1:8000/graphql [COUNT]
//! ```
//!
//! It ends with Ctrl+C, or when Bob has heard COUNT messages. Where people sign in, `DUOLOGUE_ADA` and `DUOLOGUE_BOB` are
//! their accounts, EMAIL:PASSWORD, which are made if they are not there; or `DUOLOGUE_TOKEN` is a service token.

mod documents;
mod server;
mod session;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

use crate::{
    documents::{Create, Find, Me, Open, Send, create, feed, find, me, open, send},
    server::Server,
    session::Session,
};

#[tokio::main]
async fn main() {
    let end = run().await;
    if let Err(error) = &end {
        eprintln!("Error: {error:#}");
    }
    // What still reads the keyboard is not waited for.
    std::process::exit(end.is_err().into())
}

async fn run() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().context("say where the server is: http://127.0.0.1:8000/graphql [COUNT]")?;
    let count = arguments.next().map_or(Ok(u64::MAX), |count| count.parse())?;

    let (at_ada, ada) = begin(&url, "Ada").await?;
    let (at_bob, bob) = begin(&url, "Bob").await?;
    tokio::select! {
        sending = send_lines(&at_ada, &ada, &bob) => sending?,
        following = follow(&at_bob, &bob, &ada, count) => following?,
    }
    Ok(())
}

/// The connection of a user to the server, and the id of the user.
async fn begin(url: &str, name: &str) -> Result<(Server, String)> {
    let setting = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let Some(account) = setting(&format!("DUOLOGUE_{}", name.to_uppercase())) else {
        let server = Server::new(url, Session::Fixed(setting("DUOLOGUE_TOKEN")));
        let id = user(&server, name, &format!("{}@example.com", name.to_lowercase())).await?;
        return Ok((server, id));
    };
    let (email, password) = account.split_once(':').context("an account is EMAIL:PASSWORD")?;
    let server = Server::new(url, Session::sign_in(url, name, email, password).await?);
    let me = server.ask::<Me>(me::Variables).await?.me.context("nobody has signed in")?;
    Ok((server, me.user.id))
}

/// The id of somebody who is there now, or was there already.
async fn user(server: &Server, name: &str, email: &str) -> Result<String> {
    let input = create::CreateUserInput { name: name.into(), email: email.into(), password: None };
    let created = server.ask::<Create>(create::Variables { input }).await?.create_user;
    if let Some(user) = created.user {
        return Ok(user.id);
    }
    if let Some(problem) = created.user_errors.first().filter(|its| its.code != create::UserErrorCode::EMAIL_TAKEN) {
        bail!("{}", problem.message);
    }
    // `search` finds whatever begins like this.
    let found = server.ask::<Find>(find::Variables { search: email.into() }).await?.users.nodes;
    let user = found.into_iter().find(|user| user.email.as_deref() == Some(email));
    Ok(user.context("the address is taken, but not for you to see")?.id)
}

/// Sends what is typed, one after the other.
async fn send_lines(server: &Server, me: &str, other: &str) -> Result<()> {
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(content) = lines.next_line().await? {
        send(server, me, other, content).await?;
    }
    // Nothing more is typed; others may still write.
    std::future::pending().await
}

/// Sends as often as it takes: the `clientId`, chosen before the first try, makes one message of all tries.
async fn send(server: &Server, me: &str, other: &str, content: String) -> Result<()> {
    let input = send::SendMessageInput {
        sender_id: Some(me.into()),
        receiver_id: other.into(),
        content,
        client_id: Some(uuid::Uuid::new_v4().to_string()),
        reply_to_id: None,
    };
    let sent = server.ask::<Send>(send::Variables { input }).await?.send_message;
    for problem in sent.user_errors {
        println!("FAILED {}", problem.message);
    }
    Ok(())
}

/// Prints the conversation and all that happens in it, until that was `count` messages.
async fn follow(server: &Server, me: &str, other: &str, mut count: u64) -> Result<()> {
    // Once more after each RESET.
    while count > 0 {
        let page = server.ask::<Open>(open::Variables { me: me.into(), other: other.into() }).await?;
        let conversation = page.conversation.context("there is no such conversation, or it is not yours")?;
        for message in conversation.messages.nodes {
            println!("{}", line(&message.id, message.sender.map(|sender| sender.name), &message.content));
        }
        let place = feed::Variables { me: me.into(), conversation: conversation.id, after: Some(page.feed_cursor) };
        server
            .follow(place, |event| {
                if event.kind == feed::FeedEventKind::RESET {
                    return false;
                }
                print(event);
                count -= u64::from(event.kind == feed::FeedEventKind::MESSAGE_SENT);
                count > 0
            })
            .await?;
    }
    Ok(())
}

fn print(event: &feed::FeedFeed) {
    let message = event.message.as_ref().map(|message| {
        let sender = message.sender.as_ref().map(|sender| sender.name.clone());
        line(&message.id, sender, &message.content)
    });
    // Deleted: only its id is left.
    match message.or(event.message_id.clone()) {
        Some(rest) => println!("{:?} {rest}", event.kind),
        None => println!("{:?}", event.kind),
    }
}

fn line(id: &str, sender: Option<String>, content: &str) -> String {
    format!("{id} {}: {content}", sender.unwrap_or_else(|| "(erased)".into()))
}
