//! `GET /metrics`: Prometheus text exposition.

use crate::state::App;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

pub(crate) async fn handle(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let mut text = app.metrics.render();
    text.push_str(&app.desk.render());
    let reading = Arc::clone(&app);
    // The lag of the statistics is read from the store.
    let of_store = move || reading.ledger.as_ref().map(|ledger| ledger.render_metrics());
    text.extend(tokio::task::spawn_blocking(of_store).await.ok().flatten());
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
