//! The table `members`: for each user and peer, their place in the conversation.

use diesel::{ExpressionMethods, IntoSql, QueryDsl, RunQueryDsl, sql_types::Integer, upsert::excluded};

use super::{
    Conn, Result,
    conn::on,
    pages::{PAGES_PER_STATEMENT, UnionAll, assemble_each, slices},
    schema::members,
};
use crate::model::{
    conversations::Member,
    ids::{ConversationId, MessageId, UserId},
    pages::{End, Page, Span},
};

/// A page of each user's places, by their last messages: one statement for up to 150 users.
pub fn pages(conn: &mut Conn<'_>, wanted: &[(UserId, Span)]) -> Result<Vec<Page<Member>>> {
    let mut pages = Vec::with_capacity(wanted.len());
    for wanted in wanted.chunks(PAGES_PER_STATEMENT) {
        let rows: Vec<(i32, Member)> = on!(conn, |c: Db| {
            let selects = wanted.iter().enumerate().flat_map(|(index, (user, span))| {
                slices(index, span).map(|slice| {
                    let select = members::table
                        .select((
                            slice.tag.into_sql::<Integer>(),
                            (members::user_id, members::peer_id, members::last_message_id),
                        ))
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
    let places: Vec<_> = newest
        .iter()
        .flat_map(|(conversation, message)| {
            let [low, high] = conversation.members();
            [(low, high), (high, low)].map(|(user, peer)| {
                (members::user_id.eq(user), members::peer_id.eq(peer), members::last_message_id.eq(*message))
            })
        })
        .collect();
    let query = diesel::insert_into(members::table)
        .values(places)
        .on_conflict((members::user_id, members::peer_id))
        .do_update()
        .set(members::last_message_id.eq(excluded(members::last_message_id)));
    on!(conn, |c| query.execute(c))?;
    Ok(())
}
