//! Refusals of SNS.

use crate::error::ApiError;

pub(super) fn invalid_parameter(message: impl Into<String>) -> ApiError {
    ApiError::with_status(400, "InvalidParameter", message)
}

pub(super) fn not_found(message: impl Into<String>) -> ApiError {
    ApiError::with_status(404, "NotFound", message)
}

pub(super) fn not_authorized(message: impl Into<String>) -> ApiError {
    ApiError::with_status(403, "AuthorizationError", message)
}
