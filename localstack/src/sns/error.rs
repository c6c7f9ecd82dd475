//! Refusals of SNS.

use crate::error::ApiError;

pub(super) fn refusal(code: &str, status: u16, message: impl Into<String>) -> ApiError {
    ApiError { code: code.to_owned(), status, message: message.into() }
}

pub(super) fn invalid_parameter(message: impl Into<String>) -> ApiError {
    refusal("InvalidParameter", 400, message)
}

pub(super) fn not_found(message: impl Into<String>) -> ApiError {
    refusal("NotFound", 404, message)
}

pub(super) fn not_authorized(message: impl Into<String>) -> ApiError {
    refusal("AuthorizationError", 403, message)
}
