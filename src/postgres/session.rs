//! A connection to one database, and what is asked over it.

use futures::{SinkExt as _, StreamExt as _, pin_mut};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::failure::QueryFailure;
use super::raw_text::RawText;
use crate::error::Result;

/// A connection to one database.
pub(crate) struct Session {
    pub(super) client: Client,
    pub(super) database: String,
}

impl Session {
    /// The database that we are connected to.
    pub(crate) fn database(&self) -> &str {
        &self.database
    }

    /// Runs statements that return nothing of interest.
    pub(crate) async fn execute(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        Ok(self.client.batch_execute(sql).await?)
    }

    /// Rows of a query.
    pub(crate) async fn rows(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Vec<Row>, QueryFailure> {
        Ok(self.client.query(sql, parameters).await?)
    }

    /// Rows of several statements, every value as text.
    pub(crate) async fn texts(
        &self,
        sql: &str,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let mut rows = Vec::new();
        for message in self.client.simple_query(sql).await? {
            if let SimpleQueryMessage::Row(row) = message {
                rows.push(texts_of(&row)?);
            }
        }
        Ok(rows)
    }

    /// Rows of a statement, every value as text, as long as they have at most `bytes` bytes together.
    pub(crate) async fn texts_up_to(
        &self,
        sql: &str,
        bytes: usize,
    ) -> std::result::Result<Vec<Vec<Option<String>>>, QueryFailure> {
        let messages = self.client.simple_query_raw(sql).await?;
        pin_mut!(messages);
        let (mut rows, mut length) = (Vec::new(), 0);
        while let Some(message) = messages.next().await {
            let SimpleQueryMessage::Row(row) = message? else { continue };
            let row = texts_of(&row)?;
            length += row.iter().flatten().map(String::len).sum::<usize>();
            if length <= bytes {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Runs one statement; a text that holds several is refused by the server.
    pub(crate) async fn run_alone(&self, sql: &str) -> std::result::Result<(), QueryFailure> {
        self.client.execute(sql, &[]).await?;
        Ok(())
    }

    /// Begins a `COPY … FROM stdin`.
    pub(crate) async fn begin_copy(&self, sql: &str) -> std::result::Result<CopyIn, QueryFailure> {
        Ok(CopyIn { sink: Box::pin(self.client.copy_in(sql).await?) })
    }

    /// The one row of a query.
    pub(crate) async fn row(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> std::result::Result<Row, QueryFailure> {
        Ok(self.client.query_one(sql, parameters).await?)
    }

    /// How many columns a query returns. More than one statement is refused.
    pub(crate) async fn columns(&self, sql: &str) -> std::result::Result<usize, QueryFailure> {
        Ok(self.client.prepare(sql).await?.columns().len())
    }

    /// Gives every row of a query to `take`, so that memory stays flat whatever their number.
    pub(crate) async fn for_each(&self, sql: &str, mut take: impl FnMut(Row) -> Result<()>) -> Result<()> {
        let rows = self.stream(sql).await?;
        pin_mut!(rows);
        while let Some(row) = rows.next().await {
            take(row.map_err(QueryFailure::from)?)?;
        }
        Ok(())
    }

    /// The rows of a query, one after the other, so that memory stays flat whatever their number.
    pub(crate) async fn stream(
        &self,
        sql: &str,
    ) -> std::result::Result<tokio_postgres::RowStream, QueryFailure> {
        let none: [&str; 0] = [];
        Ok(self.client.query_raw(sql, none).await?)
    }
}

/// Rows on their way into a table. Dropped before it is finished, none of them arrive.
pub(crate) struct CopyIn {
    sink: std::pin::Pin<Box<tokio_postgres::CopyInSink<std::io::Cursor<Vec<u8>>>>>,
}

impl CopyIn {
    /// Sends bytes of `COPY`'s text format, cut anywhere.
    pub(crate) async fn send(&mut self, rows: &[u8]) -> std::result::Result<(), QueryFailure> {
        Ok(self.sink.send(std::io::Cursor::new(rows.to_vec())).await?)
    }

    /// Waits until the server has all of them.
    pub(crate) async fn finish(mut self) -> std::result::Result<u64, QueryFailure> {
        Ok(self.sink.as_mut().finish().await?)
    }
}

/// The databases of an instance that hold users' data, and whether we may connect to each.
pub(crate) async fn user_databases(session: &Session) -> Result<Vec<(String, bool)>> {
    // `rdsadmin` is Amazon's own: the master user may not connect to it.
    let sql = "select datname::text, datallowconn and has_database_privilege(oid, 'CONNECT') from pg_catalog.pg_database
               where datname not in ('template0', 'template1', 'rdsadmin')
                 and datconnlimit <> -2 -- half dropped: PostgreSQL lets nobody in any more
               order by datname";
    let rows = match session.rows(sql, &[]).await {
        // A name that was given in a database of another encoding.
        Err(failure) if failure.is_untranslatable() => {
            session.execute("set client_encoding = 'SQL_ASCII'").await?;
            let rows = session.rows(sql, &[]).await?;
            session.execute("set client_encoding = 'UTF8'").await?;
            rows
        }
        rows => rows?,
    };
    Ok(rows.iter().map(|row| (row.get::<_, RawText>(0).into_string(), row.get(1))).collect())
}

/// The values of a row; text that is not UTF-8 is an error.
fn texts_of(
    row: &tokio_postgres::SimpleQueryRow,
) -> std::result::Result<Vec<Option<String>>, tokio_postgres::Error> {
    (0..row.len()).map(|column| Ok(row.try_get(column)?.map(str::to_owned))).collect()
}
