//! The table `members`: for each user and peer, their place in the conversation.

use diesel::{ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl, sql_types::Integer, upsert::excluded};

use super::{
    Conn, Result,
    conn::on,
    kept::Kept,
    pages::{PAGES_PER_STATEMENT, UnionAll, assemble_each, slices},
    schema::members,
};
use crate::model::{
    conversations::{Mark, Member, Reach},
    ids::{ConversationId, MessageId, UserId},
    pages::{End, Page, Span},
};

type Columns = (
    members::user_id,
    members::peer_id,
    members::last_message_id,
    (members::delivered_through, members::delivered_at),
    (members::read_through, members::read_at),
);
const COLUMNS: Columns = (
    members::user_id,
    members::peer_id,
    members::last_message_id,
    (members::delivered_through, members::delivered_at),
    (members::read_through, members::read_at),
);

/// A page of each user's places, by their last messages: one statement for up to 150 users.
pub fn pages(conn: &mut Conn<'_>, wanted: &[(UserId, Span)]) -> Result<Vec<Page<Member>>> {
    let mut pages = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(PAGES_PER_STATEMENT) {
        let rows: Vec<(i32, Member)> = on!(conn, |c: Db| {
            let selects = wanted.iter().enumerate().flat_map(|(index, (user, span))| {
                slices(index, span).map(|slice| {
                    let select = members::table
                        .select((slice.tag.into_sql::<Integer>(), COLUMNS))
                        .filter(members::user_id.eq(*user))
                        .filter(members::last_message_id.gt(slice.after))
                        .filter(members::last_message_id.lt(slice.before))
                        .limit(slice.limit)
                        .into_boxed::<Db>();
                    match slice.end {
                        End::First => select.order(members::last_message_id.asc()),
                        End::Last => select.order(members::last_message_id.desc()),
                    }
                })
            });
            UnionAll::new(selects.collect()).load(c)
        })?;
        let key = |member: &Member| member.last_message_id.key();
        pages.extend(assemble_each(wanted.iter().map(|(_, span)| *span), rows, key));
    }
    Ok(pages)
}

/// The places of these users with these peers, as far as there are any: one statement for up to 150.
pub fn by_keys(conn: &mut Conn<'_>, keys: &[(UserId, UserId)]) -> Result<Vec<Member>> {
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(PAGES_PER_STATEMENT) {
        let selects = keys.iter().map(|key| members::table.find(*key).select(COLUMNS));
        let query = UnionAll::new(selects.collect());
        found.extend(on!(conn, |c| query.load::<Member>(c))?);
    }
    Ok(found)
}

/// A user's places in conversations whose newest message they have not read, be it theirs or not.
pub fn behind(conn: &mut Conn<'_>, user: UserId) -> Result<Vec<Member>> {
    let query = members::table
        .select(COLUMNS)
        .filter(members::user_id.eq(user))
        .filter(members::last_message_id.gt(members::read_through));
    Ok(on!(conn, |c| query.load(c))?)
}

/// Moves a member's mark.
pub fn set_mark(conn: &mut Conn<'_>, (user, peer): (UserId, UserId), reach: Reach, mark: Mark) -> Result<()> {
    let place = members::table.find((user, peer));
    let (message, at) = (mark.message_id, mark.at);
    match reach {
        Reach::Delivered => {
            let marks = (members::delivered_through.eq(message), members::delivered_at.eq(at));
            let query = diesel::update(place).set(marks);
            on!(conn, |c| query.execute(c))?;
        }
        Reach::Read => {
            let marks = (members::read_through.eq(message), members::read_at.eq(at));
            let query = diesel::update(place).set(marks);
            on!(conn, |c| query.execute(c))?;
        }
    }
    Ok(())
}

/// Everybody with whom a user has ever exchanged messages.
pub fn peers_of(conn: &mut Conn<'_>, user: UserId) -> Result<Vec<UserId>> {
    let query = members::table.select(members::peer_id).filter(members::user_id.eq(user)).order(members::peer_id);
    Ok(on!(conn, |c| query.load(c))?)
}

/// Whether the two have ever written to each other.
pub fn exists(conn: &mut Conn<'_>, conversation: ConversationId) -> Result<bool> {
    let [low, high] = conversation.members();
    let query = diesel::select(diesel::dsl::exists(members::table.find((low, high))));
    Ok(on!(conn, |c| query.get_result(c))?)
}

/// Notes the newest message of each conversation for both of its members; at most 1,000, for the sake of the number of
/// parameters.
pub fn advance(conn: &mut Conn<'_>, newest: &[(ConversationId, MessageId)]) -> Result<()> {
    let places = newest.iter().flat_map(|(conversation, message)| {
        let [low, high] = conversation.members();
        [(low, high), (high, low)].map(|(user, peer)| {
            (members::user_id.eq(user), members::peer_id.eq(peer), members::last_message_id.eq(*message))
        })
    });
    let key = (members::user_id, members::peer_id);
    let newer = members::last_message_id.eq(excluded(members::last_message_id));
    let table = diesel::insert_into(members::table);
    match conn {
        Conn::Sqlite(c) => {
            for place in places {
                let upsert = table.values(place).on_conflict(key).do_update().set(newer);
                Kept(upsert.returning(members::user_id)).get_result::<UserId>(*c)?;
            }
        }
        Conn::Postgres(c) => {
            let places: Vec<_> = places.collect();
            table.values(places).on_conflict(key).do_update().set(newer).execute(*c)?;
        }
    }
    Ok(())
}
