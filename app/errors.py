"""Every error the service answers with: one tree, each with its HTTP status and a stable code.

`app.problems` turns them into RFC 9457 problem+json; the CLI prints the detail as one line. Must not know FastAPI.
"""

from __future__ import annotations

from typing import Any, ClassVar


class ServiceError(Exception):
    """Root. `detail` says what is wrong and what to do about it."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = headers or {}
        self.extra = extra


class InvalidInputError(ServiceError):
    status, code, title = 422, "invalid_input", "The request has wrong or missing values"


class InvalidUserIdError(InvalidInputError):
    code, title = "invalid_user_id", "That is no user id"


class EmptyHistoryError(InvalidInputError):
    code, title = "empty_history", "There is nothing to learn from in this history"


class HistoryTooShortError(InvalidInputError):
    code, title = "history_too_short", "This history is too short to personalise"


class SampleTooLongError(InvalidInputError):
    code, title = "sample_too_long", "A sample is over the length limit"


class TooManySamplesError(InvalidInputError):
    code, title = "too_many_samples", "Too many samples"


class InvalidEncodingError(InvalidInputError):
    code, title = "invalid_encoding", "The text is not UTF-8"


class InvalidJsonError(InvalidInputError):
    code, title = "invalid_json", "The request body is not JSON"


class InvalidImportError(InvalidInputError):
    code, title = "invalid_import", "The file is not of the format named"


class InvalidCursorError(InvalidInputError):
    code, title = "invalid_cursor", "That page cursor was not made by this service"


class InvalidWebhookUrlError(InvalidInputError):
    code, title = "invalid_webhook_url", "No webhook can be sent to this URL"


class NoPublicAddressError(InvalidInputError):
    code, title = "no_public_address", "This host has no address that webhooks may be sent to"


class PromptTooLongError(InvalidInputError):
    code, title = "prompt_too_long", "The prompt does not fit the model's context"


class BodyTooLargeError(ServiceError):
    status, code, title = 413, "body_too_large", "The request body is too large"


class UnsupportedMediaTypeError(ServiceError):
    status, code, title = 415, "unsupported_media_type", "A body of this content type cannot be read here"


class MethodNotAllowedError(ServiceError):
    status, code, title = 405, "method_not_allowed", "This path does not know that method"


class UnauthorizedError(ServiceError):
    status, code, title = 401, "unauthorized", "An API key is needed"


class ForbiddenError(ServiceError):
    status, code, title = 403, "forbidden", "This API key may not do that"


class NotFoundError(ServiceError):
    status, code, title = 404, "not_found", "There is no such thing"


class UserNotFoundError(NotFoundError):
    code, title = "user_not_found", "Unknown user"


class JobNotFoundError(NotFoundError):
    code, title = "job_not_found", "Unknown job"


class VersionNotFoundError(NotFoundError):
    code, title = "version_not_found", "Unknown version"


class ModelNotFoundError(NotFoundError):
    code, title = "model_not_found", "Unknown model"


class KeyNotFoundError(NotFoundError):
    code, title = "key_not_found", "Unknown API key"


class SampleNotFoundError(NotFoundError):
    code, title = "sample_not_found", "Unknown sample"


class ErasureNotFoundError(NotFoundError):
    code, title = "erasure_not_found", "Unknown erasure"


class WebhookNotFoundError(NotFoundError):
    code, title = "webhook_not_found", "Unknown webhook"


class DeliveryNotFoundError(NotFoundError):
    code, title = "delivery_not_found", "Unknown delivery"


class ConflictError(ServiceError):
    status, code, title = 409, "conflict", "That does not fit the present state"


class InvalidTransitionError(ConflictError):
    code, title = "invalid_transition", "The job's status does not allow that"


class IdempotencyKeyReusedError(ConflictError):
    code, title = "idempotency_key_reused", "This Idempotency-Key was used for another request"


class NoActiveVersionError(ConflictError):
    code, title = "no_active_version", "This user has no active version"


class UserBeingErasedError(ConflictError):
    code, title = "user_being_erased", "This user is being erased"


class LearnedDeletedSamplesError(ConflictError):
    """Beside an answer, never in its place."""

    code, title = "learned_deleted_samples", "The active version has learned samples that were deleted"


class LimitReachedError(ServiceError):
    status, code, title = 429, "rate_limited", "Too many requests of this API key"


class TokenQuotaReachedError(LimitReachedError):
    code, title = "token_quota_reached", "This API key has used its tokens of the day"


class TooManyJobsError(LimitReachedError):
    code, title = "too_many_jobs", "This API key has as many unfinished jobs as it may"


class AdapterUnusableError(ServiceError):
    status, code, title = 500, "adapter_unusable", "The stored adapter cannot be used"


class UnavailableError(ServiceError):
    status, code, title = 503, "unavailable", "A part of the service is away"


class DatabaseAwayError(UnavailableError):
    code, title = "database_unavailable", "The database cannot be reached"


class StoreFailedError(UnavailableError):
    code, title = "store_unavailable", "The adapter store cannot be read or written"


class QueueFullError(UnavailableError):
    code, title = "queue_full", "Too many answers are waiting"


class BrokerAwayError(UnavailableError):
    code, title = "broker_unavailable", "The broker cannot be reached"


class BaseUnavailableError(UnavailableError):
    code, title = "base_model_unavailable", "The base model is not loaded"


class NotReadyError(UnavailableError):
    code, title = "not_ready", "The service is not ready"
