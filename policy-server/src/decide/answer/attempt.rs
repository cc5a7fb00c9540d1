//! One call of one arm for a request, once more where that may help.

use super::failed::Failed;
use super::flow::Way;
use super::outgoing::{Prepared, prepare};
use super::question::{Question, path};
use super::report::Report;
use super::{Flow, Gateway, Said, commit, whole};
use crate::log::Level;
use crate::upstream::{Chunks, Outcome, Outgoing, Reply, Upstream, Verdict};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause before the same arm is called again.
const PAUSE_MS: u64 = 400;

/// An answer of an arm.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Said,
    pub(super) nano_usd: Option<u64>,
    /// Fields of the request that a translation left out or changed.
    pub(super) dropped: Vec<String>,
}

/// The decision a call is made for, and whose key asked.
pub(super) type For = Option<(String, Option<Arc<str>>)>;

impl Gateway {
    /// Calls an arm, and once more where the failure is a passing one.
    ///
    /// # Errors
    /// If it gives no answer.
    pub(super) async fn attempt(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
        decision: &For,
        deadline: Instant,
    ) -> Result<Given, Failed> {
        let mut report = self.report(upstream, question, decision);
        let failed = match self.once(upstream, question, report, deadline).await {
            Ok(given) => return Ok(given),
            Err(failed) => failed,
        };
        self.tell(upstream, &failed);
        // Three quarters to all of the pause, so that those who failed together do not come back together.
        let jitter = 75 + u64::from(crate::ids::fresh().as_bytes()[15] % 26);
        let Some(wait) = failed.again_after() else { return Err(failed) };
        let pause = wait + Duration::from_millis(PAUSE_MS * jitter / 100);
        let now = Instant::now();
        if now + pause >= deadline || upstream.rests_until(now).is_some() || !upstream.may_retry() {
            return Err(failed);
        }
        tokio::time::sleep(pause).await;
        report = self.report(upstream, question, decision);
        self.once(upstream, question, report, deadline)
            .await
            .inspect_err(|failed| self.tell(upstream, failed))
    }

    fn report(&self, upstream: &Arc<Upstream>, question: &Question, decision: &For) -> Report {
        let (ledger, tab) = (self.service.ledger.clone(), Arc::clone(&question.tab));
        Report::new(upstream, ledger, tab, decision.clone())
    }

    async fn once(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
        mut report: Report,
        deadline: Instant,
    ) -> Result<Given, Failed> {
        let given = self.called(upstream, question, &mut report, deadline).await;
        match given {
            Ok(Called::Whole(given)) => {
                report.end(Outcome::Ok);
                Ok(given)
            }
            Ok(Called::Stream { status, headers, begun, chunks, way, dropped }) => {
                let flow = Flow::new(way, begun, *chunks, report);
                Ok(Given { status, headers, body: Said::Stream(Box::new(flow)), nano_usd: None, dropped })
            }
            Err(mut failed) => {
                report.end(failed.outcome);
                if question.needs.keeps_state {
                    failed.keeps_state();
                }
                Err(failed)
            }
        }
    }

    async fn called(
        &self,
        upstream: &Arc<Upstream>,
        question: &Question,
        report: &mut Report,
        deadline: Instant,
    ) -> Result<Called, Failed> {
        let prepared = prepare(upstream, question).map_err(|refused| Failed::unfit(&refused))?;
        let Prepared { api, body, hides, frame, dropped } = prepared;
        let outgoing =
            Outgoing { path: path(api), body, caller: &question.headers, streams: question.streams };
        report.hold = question.tab.hold(upstream, deadline).await.map_err(Failed::unpaid)?;
        report.sends();
        let sent = upstream.send(&outgoing, deadline).await;
        let Reply { status, headers, is_encoded, mut chunks } =
            sent.map_err(|error| Failed::of_call(&error))?;
        if status != StatusCode::OK {
            let said = whole::read_error(&mut chunks).await;
            let mut failed = Failed::said(status, headers, said);
            // Words of another dialect are not the caller's.
            failed.said = failed.said.filter(|_| frame.is_none());
            chunks.judge(verdict(&failed));
            return Err(failed);
        }
        if is_encoded {
            chunks.judge(Verdict::Failed);
            return Err(Failed::garbled("its reply is compressed although the request forbade it"));
        }
        if question.streams && is_stream(&headers) {
            let begun = commit::begin(&mut chunks, api).await;
            let begun = begun.inspect_err(|failed| chunks.judge(verdict(failed)))?;
            report.is_answered = true;
            report.begins();
            let way = Way { caller: question.api, arm: api, hides, frame };
            return Ok(Called::Stream { status, headers, begun, chunks: Box::new(chunks), way, dropped });
        }
        let body = whole::read(&mut chunks).await?;
        let tally = whole::check(api, &body, upstream.tariff())
            .inspect_err(|failed| chunks.judge(verdict(failed)))?;
        report.is_answered = true;
        let body = match frame {
            Some(frame) => whole::translated(api, question.api, &body, &frame)
                .inspect_err(|failed| chunks.judge(verdict(failed)))?,
            None => body,
        };
        report.begins();
        let nano_usd = tally.nano_usd;
        report.tally = tally;
        Ok(Called::Whole(Given { status, headers, body: Said::Whole(body), nano_usd, dropped }))
    }

    /// Logs a failure, and leaves the arm alone where it asked for that.
    fn tell(&self, upstream: &Arc<Upstream>, failed: &Failed) {
        if let Some(rest) = failed.rest().filter(|_| failed.again_after().is_none()) {
            upstream.rest(Instant::now() + rest);
        }
        if failed.said.is_none() && failed.own.is_none() {
            let fields =
                json!({ "model": upstream.name(), "outcome": failed.outcome.name(), "reason": failed.why });
            self.log.event(Level::Warn, "upstream_failed", fields);
        }
    }
}

/// What a call has come to.
#[expect(clippy::large_enum_variant, reason = "one is made for each call, and read at once")]
enum Called {
    Whole(Given),
    Stream {
        status: StatusCode,
        headers: HeaderMap,
        begun: commit::Begun,
        chunks: Box<Chunks>,
        way: Way,
        dropped: Vec<String>,
    },
}

fn verdict(failed: &Failed) -> Verdict {
    match failed.outcome {
        Outcome::Refused | Outcome::RateLimited | Outcome::Cancelled | Outcome::NotCalled => Verdict::Neutral,
        _ => Verdict::Failed,
    }
}

fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream")
}
