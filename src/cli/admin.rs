//! The commands that look after accounts.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Context, Result, bail};
use duologue::{
    app::App,
    config::Admin,
    domain::{Viewer, admin},
    model::{
        ids::{ServiceTokenId, SessionId},
        texts::{Email, Name, Password},
        users::{Account, Role},
    },
};

use super::{open_existing, print_done, printable, user_named, with_app};

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
    with_app(open_existing(&database).await?, async |app| run_on(app, task).await).await
}

async fn run_on(app: &App, task: Admin) -> Result<()> {
    let operator = &Viewer::operator(app);
    match task {
        Admin::Create { name, email, .. } => create(app, operator, Name::parse(name)?, Email::parse(&email)?).await,
        Admin::Users { .. } => list_users(app, operator).await,
        Admin::Grant { user, .. } => grant(app, operator, &user).await,
        Admin::Revoke { user, .. } => revoke(app, operator, &user).await,
        Admin::Suspend { user, .. } => suspend(app, operator, &user).await,
        Admin::Unsuspend { user, .. } => unsuspend(app, operator, &user).await,
        Admin::ResetPassword { user, .. } => reset_password(app, operator, &user).await,
        Admin::Sessions { user, .. } => list_sessions(app, operator, &user).await,
        Admin::EndSession { id, .. } => end_session(app, operator, id.parse()?).await,
        Admin::IssueToken { name, .. } => issue_token(app, operator, Name::parse(name)?).await,
        Admin::Tokens { .. } => list_tokens(app, operator).await,
        Admin::RevokeToken { id, .. } => revoke_token(app, operator, id.parse()?).await,
    }
}

async fn create(app: &App, operator: &Viewer, name: Name, email: Email) -> Result<()> {
    // Before anybody types a password.
    if admin::user_by_email(app, operator, email.clone()).await?.is_some() {
        bail!(
            "there is an account with this address: if it is not theirs, change its password with `duologue admin \
             reset-password`; then `duologue admin grant` makes it an admin"
        );
    }
    let user = admin::create(app, operator, name, email, new_password()?).await?;
    print_done(format_args!("{} is an admin.", user.id));
    Ok(())
}

async fn grant(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    let user = admin::grant(app, operator, id).await?;
    print_done(format_args!(
        "{} ({}, since {}) is an admin, with the password as before.",
        user.id,
        printable(&user.name),
        user.created_at
    ));
    Ok(())
}

async fn revoke(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    let had_admins = admin::has_admins(app, operator).await?;
    if !admin::revoke(app, operator, id).await? {
        bail!("{id} is no admin");
    }
    warn_without_admins(app, operator, had_admins).await?;
    print_done(format_args!("{id} is a user again, and all of its sessions have ended."));
    Ok(())
}

async fn suspend(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    let had_admins = admin::has_admins(app, operator).await?;
    if !admin::set_suspended(app, operator, id, true).await? {
        bail!("{id} is suspended already");
    }
    warn_without_admins(app, operator, had_admins).await?;
    print_done(format_args!("{id} is suspended, and all of its sessions have ended."));
    Ok(())
}

async fn unsuspend(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    if !admin::set_suspended(app, operator, id, false).await? {
        bail!("{id} is not suspended");
    }
    print_done(format_args!("{id} may sign in again."));
    Ok(())
}

async fn reset_password(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    admin::check_has_password(app, operator, id).await?;
    admin::reset_password(app, operator, id, new_password()?).await?;
    print_done(format_args!("{id} has the new password, and all of its sessions have ended."));
    Ok(())
}

async fn list_sessions(app: &App, operator: &Viewer, user: &str) -> Result<()> {
    let id = user_named(app, operator, user).await?;
    let sessions = admin::sessions(app, operator, id).await?;
    writeln!(stdout(), "SESSION\tSIGNED IN\tLAST USED\tDEVICE")?;
    for session in sessions {
        let device = printable(session.device.as_deref().unwrap_or("-"));
        writeln!(stdout(), "{}\t{}\t{}\t{device}", session.id, session.created_at, session.last_used_at)?;
    }
    Ok(())
}

async fn end_session(app: &App, operator: &Viewer, id: SessionId) -> Result<()> {
    let Some(user) = admin::end_session(app, operator, id).await? else {
        bail!("there is no active session {id}");
    };
    print_done(format_args!("{id} of {user} has ended."));
    Ok(())
}

async fn issue_token(app: &App, operator: &Viewer, name: Name) -> Result<()> {
    let (id, token) = admin::issue_token(app, operator, name).await?;
    let _ = writeln!(stderr(), "{id}: keep it safe, it is not shown again.");
    let how = || format!("{id} was issued, and its token could not be shown: duologue admin revoke-token {id}");
    writeln!(stdout(), "{token}").with_context(how)
}

async fn list_tokens(app: &App, operator: &Viewer) -> Result<()> {
    writeln!(stdout(), "TOKEN\tISSUED\tNAME")?;
    for (id, name, created_at) in admin::tokens(app, operator).await? {
        writeln!(stdout(), "{id}\t{created_at}\t{}", printable(&name))?;
    }
    Ok(())
}

async fn revoke_token(app: &App, operator: &Viewer, id: ServiceTokenId) -> Result<()> {
    if !admin::revoke_token(app, operator, id).await? {
        bail!("there is no active service token {id}");
    }
    print_done(format_args!("{id} is revoked."));
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
