//! Blocks in words.

use async_graphql::{Context, ID, Object, Result};

use super::{
    calls::{Arguments, Call},
    users::UserPayload,
};
use crate::domain::blocks;

/// Changes to blocks.
#[derive(Default)]
pub(super) struct BlockMutation;

#[Object]
impl BlockMutation {
    /// They can no longer message you or see your presence, nor you theirs.
    async fn block_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom.")] id: ID,
        #[graphql(desc = "Who blocks: you, if it is left out. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<UserPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let (other, user) = (arguments.id("id", &id), arguments.user(call, "userId", user_id.as_ref())?);
        let (Some(other), Some(user)) = (other, user) else { return Ok(UserPayload::of(Err(arguments.errors))) };
        Ok(UserPayload::of(call.outcome(blocks::block(&call.app, &call.viewer(), user, other).await)?))
    }

    /// Take a block back.
    async fn unblock_user(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom.")] id: ID,
        #[graphql(desc = "Who blocked: you, if it is left out. Needed in open mode.")] user_id: Option<ID>,
    ) -> Result<UserPayload> {
        let call = Call::of(ctx);
        let mut arguments = Arguments::default();
        let (other, user) = (arguments.id("id", &id), arguments.user(call, "userId", user_id.as_ref())?);
        let (Some(other), Some(user)) = (other, user) else { return Ok(UserPayload::of(Err(arguments.errors))) };
        Ok(UserPayload::of(call.outcome(blocks::unblock(&call.app, &call.viewer(), user, other).await)?))
    }
}
