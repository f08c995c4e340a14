//! One transaction on the writer's connection, and the statements that end it.
//!
//! Every statement costs a way to the database's thread and back, which is most of what a lone event costs. So a
//! transaction begins only when a judge must read, and few statements of one row each go out together with its
//! `BEGIN` and `COMMIT`.

use super::broken::Broken;
use super::database::BEGIN;
use super::limits::SCRIPT_STEPS_MAX;
use super::sql::Insert;
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

/// A statement being bound.
pub(super) type Binding<'q> = Query<'q, Any, AnyArguments>;

/// A row that binds itself.
pub(super) trait Bound: Sync {
    /// Binds the row's values in the order of its statement's `?`.
    fn bind<'q>(&self, query: Binding<'q>) -> Binding<'q>;
}

/// One statement and the rows it writes.
struct Step<'a> {
    text: &'static str,
    rows: Vec<&'a dyn Bound>,
}

/// What is written at the end of a transaction, in order.
#[derive(Default)]
pub(super) struct Script<'a>(Vec<Step<'a>>);

impl<'a> Script<'a> {
    /// Rows, in as few statements as the sizes of prepared texts allow.
    pub(super) fn insert<R: Bound + 'a>(&mut self, insert: &'static Insert, rows: impl IntoIterator<Item = &'a R>) {
        let rows: Vec<&dyn Bound> = rows.into_iter().map(|row| row as &dyn Bound).collect();
        let mut rest = rows.as_slice();
        while !rest.is_empty() {
            let (count, text) = insert.for_rows(rest.len());
            let Some((now, later)) = rest.split_at_checked(count) else { break };
            self.0.push(Step { text, rows: now.to_vec() });
            rest = later;
        }
    }

    /// One statement with the values of one row.
    pub(super) fn write(&mut self, text: &'static str, row: &'a dyn Bound) {
        self.0.push(Step { text, rows: vec![row] });
    }

    fn is_short(&self) -> bool {
        self.0.len() <= SCRIPT_STEPS_MAX && self.0.iter().all(|step| step.rows.len() == 1)
    }

    async fn run(&self, connection: &mut AnyConnection) -> Result<(), Broken> {
        for step in &self.0 {
            let query = step.rows.iter().fold(sqlx::query(step.text), |query, row| row.bind(query));
            query.execute(&mut *connection).await?;
        }
        Ok(())
    }

    /// All statements as one text. Their number is small, so few different texts are prepared.
    async fn run_at_once(&self, connection: &mut AnyConnection, begin: &[&str]) -> Result<(), Broken> {
        let texts = begin.iter().copied().chain(self.0.iter().map(|step| step.text)).chain([COMMIT]);
        let text = texts.collect::<Vec<_>>().join("; ");
        let rows = self.0.iter().flat_map(|step| &step.rows);
        rows.fold(sqlx::query(AssertSqlSafe(text)), |query, row| row.bind(query)).execute(connection).await?;
        Ok(())
    }
}

const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Yes,
    NotYet,
}

/// A transaction that begins when it is needed. After any error nobody knows how far it came: the caller drops the
/// connection, which rolls back what was not committed.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    connection: &'a mut AnyConnection,
    begun: Begun,
}

impl<'a> Transaction<'a> {
    pub(super) fn on(connection: &'a mut AnyConnection) -> Self {
        Self { connection, begun: Begun::NotYet }
    }

    /// The connection, inside the transaction.
    pub(super) async fn sql(&mut self) -> Result<&mut AnyConnection, Broken> {
        if self.begun == Begun::NotYet {
            sqlx::query(BEGIN).execute(&mut *self.connection).await?;
            self.begun = Begun::Yes;
        }
        Ok(self.connection)
    }

    /// Writes now what a question of the same transaction must see.
    pub(super) async fn run(&mut self, script: &Script<'_>) -> Result<(), Broken> {
        script.run(self.sql().await?).await
    }

    /// Writes everything and commits. When this returns `Ok` it is on the disk.
    pub(super) async fn commit(mut self, script: &Script<'_>) -> Result<(), Broken> {
        if script.0.len() == 1 && self.begun == Begun::NotYet {
            // One statement is a transaction of its own.
            return script.run(self.connection).await;
        }
        if script.is_short() {
            let begin: &[&str] = if self.begun == Begun::NotYet { &[BEGIN] } else { &[] };
            return script.run_at_once(self.connection, begin).await;
        }
        self.run(script).await?;
        sqlx::query(COMMIT).execute(self.connection).await?;
        Ok(())
    }

    /// Ends it without a change.
    pub(super) async fn leave(self) -> Result<(), Broken> {
        if self.begun == Begun::Yes {
            sqlx::query(ROLLBACK).execute(self.connection).await?;
        }
        Ok(())
    }
}
