//! Users of an issuer: resolving the claims of its tokens to accounts, and provisioning accounts.

use std::str::FromStr;

use super::{Error, Result};
use crate::{
    app::App,
    model::{
        ids::{AnyId, UserId},
        texts::{Name, has_at_sign},
        timestamps::Timestamp,
        users::Role,
    },
    secrets::{Issuer, IssuerClaims},
    store::{self, Conn, identities::Standing, users::NewUser},
};

/// The user that the claims name: the one with this id, such as usr_7; or, if the issuer provisions users, the account of
/// this subject, which is created at its first token. Gives when the account was created, too.
pub(super) async fn resolve(app: &App, issuer: &Issuer, claims: IssuerClaims) -> Result<(UserId, Timestamp)> {
    let (name, subject) = (issuer.name().to_owned(), claims.subject.clone());
    // Where accounts are provisioned, users may choose their subjects: one that looks like an id must not name a user.
    let id = if issuer.provisions_users() { None } else { AnyId::from_str(&subject).ok() };
    let find = move |conn: &mut Conn<'_>| match id {
        Some(AnyId::User(id)) => {
            let standing = |is_active| if is_active { Standing::Active } else { Standing::Suspended };
            let found = store::users::standing(conn, id)?;
            Ok::<_, store::Error>(found.map(|(is_active, created_at)| (id, created_at, standing(is_active))))
        }
        _ => store::identities::user(conn, &name, &subject),
    };
    let found = app.store.lookup(find).await?;
    match allowed(found)? {
        Some(found) => Ok(found),
        None if issuer.provisions_users() => {
            let (name, subject) = (issuer.name().to_owned(), claims.subject.clone());
            match provision(app, issuer, claims).await {
                // A concurrent request has provisioned the same subject.
                Err(Error::Busy) => {
                    let found = app.store.read(move |conn| store::identities::user(conn, &name, &subject)).await?;
                    allowed(found)?.ok_or(Error::Busy)
                }
                provisioned => provisioned,
            }
        }
        None => Err(Error::Unauthenticated),
    }
}

/// The user that was found, if they may act.
fn allowed(found: Option<(UserId, Timestamp, Standing)>) -> Result<Option<(UserId, Timestamp)>> {
    match found {
        Some((id, created_at, Standing::Active)) => Ok(Some((id, created_at))),
        Some((_, _, Standing::Suspended)) => Err(Error::SUSPENDED),
        Some((_, _, Standing::Erased)) => Err(Error::Unauthenticated),
        None => Ok(None),
    }
}

/// Creates the account of a new subject. That of an erased account is not created again.
async fn provision(app: &App, issuer: &Issuer, claims: IssuerClaims) -> Result<(UserId, Timestamp)> {
    let IssuerClaims { subject, name, .. } = claims;
    let (issuer, at) = (issuer.name().to_owned(), app.now());
    // All users see names. A subject that is an address is not shown to them.
    let shown_subject = Some(&subject).filter(|subject| !has_at_sign(subject)).cloned();
    let candidates = [name, shown_subject, Some("?".to_owned())].into_iter().flatten();
    let name = candidates.map(Name::parse).find_map(Result::ok).ok_or(Error::Unauthenticated)?;
    app.store
        .write(move |conn| {
            if let Some(found) = allowed(store::identities::user(conn, &issuer, &subject)?)? {
                return Ok(found);
            }
            let (name, role) = (&name, Role::User);
            let user = NewUser { id: None, name, email: None, created_at: at, password_hash: None, role };
            let user = store::users::insert(conn, &user)?;
            // If a concurrent request was faster, the error undoes the account.
            let is_first = store::identities::insert(conn, &issuer, &subject, user.id)?;
            if is_first { Ok((user.id, user.created_at)) } else { Err(Error::Busy) }
        })
        .await
}
