//! The commands that look after accounts.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Context, Result, bail};
use duologue::{
    app::App,
    config::Admin,
    domain::{Viewer, admin},
    model::{
        texts::{Email, Name, Password},
        users::{Account, Role},
    },
};

use super::{open_existing, printable, user_named};

pub(super) async fn run(task: Admin) -> Result<()> {
    let database = match &task {
        Admin::Create { database, .. }
        | Admin::Users { database }
        | Admin::Grant { database, .. }
        | Admin::Revoke { database, .. }
        | Admin::Suspend { database, .. }
        | Admin::Unsuspend { database, .. }
        | Admin::ResetPassword { database, .. }
        | Admin::Sessions { database, .. }
        | Admin::EndSession { database, .. }
        | Admin::IssueToken { database, .. }
        | Admin::Tokens { database }
        | Admin::RevokeToken { database, .. } => database.clone(),
    };
    let app = open_existing(&database).await?;
    let done = run_on(&app, task).await;
    app.close().await;
    done
}

async fn run_on(app: &App, task: Admin) -> Result<()> {
    let operator = Viewer::operator(app);
    match task {
        Admin::Create { name, email, .. } => {
            let (name, email) = (Name::parse(name)?, Email::parse(&email)?);
            // Before anybody types a password.
            if admin::user_by_email(app, &operator, email.clone()).await?.is_some() {
                bail!(
                    "there is an account with this address: if it is not theirs, change its password with `duologue admin \
                     reset-password`; then `duologue admin grant` makes it an admin"
                );
            }
            let user = admin::create(app, &operator, name, email, new_password()?).await?;
            writeln!(stdout(), "{} is an admin.", user.id)?;
        }
        Admin::Users { .. } => list_users(app, &operator).await?,
        Admin::Grant { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            let user = admin::grant(app, &operator, id).await?;
            writeln!(
                stdout(),
                "{} ({}, since {}) is an admin, with the password as before.",
                user.id,
                printable(&user.name),
                user.created_at
            )?;
        }
        Admin::Revoke { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            let had_admins = admin::has_admins(app, &operator).await?;
            if !admin::revoke(app, &operator, id).await? {
                bail!("{id} is no admin");
            }
            warn_without_admins(app, &operator, had_admins).await?;
            writeln!(stdout(), "{id} is a user again, and all of its sessions have ended.")?;
        }
        Admin::Suspend { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            let had_admins = admin::has_admins(app, &operator).await?;
            if !admin::set_suspended(app, &operator, id, true).await? {
                bail!("{id} is suspended already");
            }
            warn_without_admins(app, &operator, had_admins).await?;
            writeln!(stdout(), "{id} is suspended, and all of its sessions have ended.")?;
        }
        Admin::Unsuspend { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            if !admin::set_suspended(app, &operator, id, false).await? {
                bail!("{id} is not suspended");
            }
            writeln!(stdout(), "{id} may sign in again.")?;
        }
        Admin::ResetPassword { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            admin::check_has_password(app, &operator, id).await?;
            admin::reset_password(app, &operator, id, new_password()?).await?;
            writeln!(stdout(), "{id} has the new password, and all of its sessions have ended.")?;
        }
        Admin::Sessions { user, .. } => {
            let id = user_named(app, &operator, &user).await?;
            let sessions = admin::sessions(app, &operator, id).await?;
            writeln!(stdout(), "SESSION\tSIGNED IN\tLAST USED\tDEVICE")?;
            for session in sessions {
                let device = printable(session.device.as_deref().unwrap_or("-"));
                writeln!(stdout(), "{}\t{}\t{}\t{device}", session.id, session.created_at, session.last_used_at)?;
            }
        }
        Admin::EndSession { id, .. } => {
            let id = id.parse()?;
            let Some(user) = admin::end_session(app, &operator, id).await? else {
                bail!("there is no active session {id}");
            };
            writeln!(stdout(), "{id} of {user} has ended.")?;
        }
        Admin::IssueToken { name, .. } => {
            let (id, token) = admin::issue_token(app, &operator, Name::parse(name)?).await?;
            let _ = writeln!(stderr(), "{id}: keep it safe, it is not shown again.");
            let how = || format!("{id} was issued, and its token could not be shown: duologue admin revoke-token {id}");
            writeln!(stdout(), "{token}").with_context(how)?;
        }
        Admin::Tokens { .. } => {
            writeln!(stdout(), "TOKEN\tISSUED\tNAME")?;
            for (id, name, created_at) in admin::tokens(app, &operator).await? {
                writeln!(stdout(), "{id}\t{created_at}\t{}", printable(&name))?;
            }
        }
        Admin::RevokeToken { id, .. } => {
            let id = id.parse()?;
            if !admin::revoke_token(app, &operator, id).await? {
                bail!("there is no active service token {id}");
            }
            writeln!(stdout(), "{id} is revoked.")?;
        }
    }
    Ok(())
}

/// After a command that may have taken the last admin.
async fn warn_without_admins(app: &App, operator: &Viewer, had_admins: bool) -> Result<()> {
    if had_admins && !admin::has_admins(app, operator).await? {
        let _ = writeln!(stderr(), "This was the last admin: `duologue admin create` or `grant` makes another.");
    }
    Ok(())
}

async fn list_users(app: &App, operator: &Viewer) -> Result<()> {
    let mut output = stdout().lock();
    writeln!(output, "USER\tROLE\tCREATED\tSUSPENDED\tEMAIL\tNAME")?;
    let mut last = None;
    loop {
        let accounts = admin::accounts_after(app, operator, last).await?;
        let Some(account) = accounts.last() else { return Ok(()) };
        last = Some(account.user.id);
        for Account { user, role, suspended_at } in &accounts {
            let role = if *role == Role::Admin { "admin" } else { "user" };
            let suspended_at = suspended_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
            let [email, name] = [user.email.as_deref().unwrap_or("-"), &user.name].map(printable);
            writeln!(output, "{}\t{role}\t{}\t{suspended_at}\t{email}\t{name}", user.id, user.created_at)?;
        }
    }
}

/// A password from the terminal, typed twice and unseen, or else the first line of standard input.
fn new_password() -> Result<Password> {
    let text = if stdin().is_terminal() {
        let text = rpassword::prompt_password("New password: ")?;
        if rpassword::prompt_password("Once more: ")? != text {
            bail!("the passwords do not match; nothing was changed");
        }
        text
    } else {
        stdin().lines().next().context("give the password on standard input")??
    };
    Ok(Password::parse(text)?)
}
