//! Users of an issuer: resolving the claims of its tokens to accounts, and provisioning accounts.

use std::str::FromStr;

use super::{Error, Result};
use crate::{
    app::App,
    model::{
        ids::{AnyId, UserId},
        texts::{Name, has_at_sign},
        users::Role,
    },
    secrets::{Issuer, IssuerClaims},
    store::{self, Conn, identities::Standing, users::NewUser},
};

/// The user that the claims name: the one with this id, such as usr_7; or, if the issuer provisions users, the account of
/// this subject, which is created at its first token.
pub(super) async fn resolve(app: &App, issuer: &Issuer, claims: IssuerClaims) -> Result<UserId> {
    let (name, subject) = (issuer.name().to_owned(), claims.subject.clone());
    // Where accounts are provisioned, users may choose their subjects: one that looks like an id must not name a user.
    let id = if issuer.provisions_users() { None } else { AnyId::from_str(&subject).ok() };
    let find = move |conn: &mut Conn<'_>| match id {
        Some(AnyId::User(id)) => {
            let standing = |is_active| if is_active { Standing::Active } else { Standing::Suspended };
            Ok::<_, store::Error>(store::users::is_active(conn, id)?.map(|is_active| (id, standing(is_active))))
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
fn allowed(found: Option<(UserId, Standing)>) -> Result<Option<UserId>> {
    match found {
        Some((id, Standing::Active)) => Ok(Some(id)),
        Some((_, Standing::Suspended)) => Err(Error::SUSPENDED),
        Some((_, Standing::Erased)) => Err(Error::Unauthenticated),
        None => Ok(None),
    }
}

/// Creates the account of a new subject. That of an erased account is not created again.
async fn provision(app: &App, issuer: &Issuer, claims: IssuerClaims) -> Result<UserId> {
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
            if is_first { Ok(user.id) } else { Err(Error::Busy) }
        })
        .await
}
