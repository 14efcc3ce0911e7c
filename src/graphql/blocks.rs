//! Blocks between users.

use std::sync::Arc;

use async_graphql::{ID, InputObject};

use super::{ArgumentParser, Call, Failure, Mutations, mutation};
use crate::{domain::blocks, model::users::User};

#[derive(Clone, InputObject)]
struct BlockArguments {
    /// The user who is blocked, or no longer blocked.
    id: ID,
    /// Whose block it is: yours, if it is left out. Required in open mode.
    user_id: Option<ID>,
}

/// Changes to blocks.
pub(super) fn mutations(fields: &mut Mutations) {
    mutation(
        fields,
        "blockUser",
        "They can no longer message you or see your presence, nor you theirs. Messages that were sent before stay, for both of \
         you, and those that you have not read still count as unread, until `markRead`: a block hides nothing of what was said.",
        |call, arguments| change(call, true, arguments),
    );
    mutation(fields, "unblockUser", "Remove a block.", |call, arguments| change(call, false, arguments));
}

async fn change(call: Arc<Call>, block: bool, arguments: BlockArguments) -> Result<User, Failure> {
    let mut parser = ArgumentParser::default();
    let other = parser.id("id", &arguments.id);
    let user = parser.user(&call, "userId", arguments.user_id.as_ref())?;
    let (other, user) = parser.finish(other.zip(user))?;
    let viewer = call.viewer();
    call.or_failure(if block {
        blocks::block(&call.app, &viewer, user, other).await
    } else {
        blocks::unblock(&call.app, &viewer, user, other).await
    })
}
