//! HTTP: the only folder that names axum.
