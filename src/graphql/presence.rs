//! Presence: whether a user is connected now.

use super::{Context, DateTime};
use crate::{
    execution::{Fields, Object},
    model::signals::Presence,
};

impl Object for Presence {
    const NAME: &'static str = "Presence";
    const DESCRIPTION: &'static str = "Whether a user is connected now. `signals` sends changes; the feed does not.";
    type Context = Context;
    type Row<'a> = &'a Self;

    fn fields(fields: &mut Fields<Self>) {
        fields.plain::<bool>(
            "online",
            "Whether the user follows their feed or their signals, or did so a moment ago (30 seconds, unless the server has \
             another setting).",
            |it, _| it.online,
        );
        fields.plain::<Option<DateTime>>(
            "lastSeenAt",
            "When the user's last connection ended; null while there is one, or if the server has not seen them since it was \
             started.",
            |it, _| it.last_seen_at,
        );
    }
}
