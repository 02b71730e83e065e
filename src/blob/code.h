/* code.h - the ways an S3 request ends, as rows: S3's own error code, its HTTP status and its sentence.
 *
 * The store's functions return these rather than 0 and -1, since S3 tells apart more refusals than struct err does.
 * S3_OK is 0. With S3_InternalError the function has filled its struct err; with the others it may have, to say more
 * than the row's sentence.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#pragma once
#include "base/str.h"

/* Codes and statuses are S3's (API reference, "Error responses"); the sentences are ours where clients do not look. */
#define S3_CODES(X)                                                                                                    \
	X(OK, 200, "")                                                                                                 \
	X(AccessControlListNotSupported, 400, "The bucket does not allow ACLs")                                        \
	X(AccessDenied, 403, "Access Denied")                                                                          \
	X(AuthorizationHeaderMalformed, 400, "The authorization header that you provided is not valid.")               \
	X(AuthorizationQueryParametersError, 400, "The query parameters that sign this request are not valid.")        \
	X(BadDigest, 400, "The Content-MD5 or checksum that you gave does not match what was received.")               \
	X(BucketNotEmpty, 409, "The bucket you tried to delete is not empty")                                          \
	X(EntityTooLarge, 400, "Your proposed upload exceeds the maximum allowed size")                                \
	X(EntityTooSmall, 400, "Your proposed upload is smaller than the minimum allowed size")                        \
	X(ExpiredToken, 400, "The provided token has expired.")                                                        \
	X(IncompleteBody, 400, "You did not provide the number of bytes specified by the Content-Length HTTP header")  \
	X(InternalError, 500, "We encountered an internal error. Please try again.")                                   \
	X(InvalidAccessKeyId, 403, "The AWS Access Key Id you provided does not exist in our records.")                \
	X(InvalidArgument, 400, "Invalid Argument")                                                                    \
	X(InvalidBucketName, 400, "The specified bucket is not valid.")                                                \
	X(InvalidDigest, 400, "The Content-MD5 you specified is not valid.")                                           \
	X(InvalidPart, 400,                                                                                            \
	  "One or more of the specified parts could not be found. The part may not have been uploaded, or the "        \
	  "specified entity tag may not match the part's entity tag.")                                                 \
	X(InvalidPartOrder, 400,                                                                                       \
	  "The list of parts was not in ascending order. Parts must be ordered by part number.")                       \
	X(InvalidRange, 416, "The requested range is not satisfiable")                                                 \
	X(InvalidRequest, 400, "Invalid Request")                                                                      \
	X(InvalidToken, 400, "The provided token is malformed or otherwise invalid.")                                  \
	X(InvalidURI, 400, "Couldn't parse the specified URI.")                                                        \
	X(KeyTooLongError, 400, "Your key is too long")                                                                \
	X(MalformedXML, 400,                                                                                           \
	  "The XML you provided was not well-formed or did not validate against our published schema")                 \
	X(MetadataTooLarge, 400, "Your metadata headers exceed the maximum allowed metadata size")                     \
	X(MethodNotAllowed, 405, "The specified method is not allowed against this resource.")                         \
	X(MissingContentLength, 411, "You must provide the Content-Length HTTP header.")                               \
	X(NoSuchBucket, 404, "The specified bucket does not exist")                                                    \
	X(NoSuchKey, 404, "The specified key does not exist.")                                                         \
	X(NoSuchUpload, 404,                                                                                           \
	  "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or " \
	  "completed.")                                                                                                \
	X(NotImplemented, 501, "A header or query you provided implies functionality that is not implemented")         \
	X(NotModified, 304, "Not Modified")                                                                            \
	X(OperationAborted, 409,                                                                                       \
	  "A conflicting conditional operation is currently in progress against this resource. Please try again.")     \
	X(PreconditionFailed, 412, "At least one of the pre-conditions you specified did not hold")                    \
	X(RequestTimeTooSkewed, 403, "The difference between the request time and the server's time is too large.")    \
	X(RequestTimeout, 400,                                                                                         \
	  "Your socket connection to the server was not read from or written to within the timeout period.")           \
	X(ServerSideEncryptionConfigurationNotFoundError, 404,                                                         \
	  "The server side encryption configuration was not found")                                                    \
	X(NoSuchBucketPolicy, 404, "The bucket policy does not exist")                                                 \
	X(NoSuchCORSConfiguration, 404, "The CORS configuration does not exist")                                       \
	X(NoSuchLifecycleConfiguration, 404, "The lifecycle configuration does not exist")                             \
	X(NoSuchTagSet, 404, "The TagSet does not exist")                                                              \
	X(NoSuchWebsiteConfiguration, 404, "The specified bucket does not have a website configuration")               \
	X(NoSuchPublicAccessBlockConfiguration, 404, "The public access block configuration was not found")            \
	X(ReplicationConfigurationNotFoundError, 404, "The replication configuration was not found")                   \
	X(ObjectLockConfigurationNotFoundError, 404, "Object Lock configuration does not exist for this bucket")       \
	X(OwnershipControlsNotFoundError, 404, "The bucket ownership controls were not found")                         \
	X(SignatureDoesNotMatch, 403,                                                                                  \
	  "The request signature we calculated does not match the signature you provided. Check your key and signing " \
	  "method.")                                                                                                   \
	X(TooManyBuckets, 400, "You have attempted to create more buckets than allowed")                               \
	X(XAmzContentSHA256Mismatch, 400,                                                                              \
	  "The provided 'x-amz-content-sha256' header does not match what was computed.")

enum s3_code {
#define X(code, status, text) S3_##code,
	S3_CODES(X)
#undef X
	        S3_CODE_COUNT
};

struct s3_code_info {
	const char *name;
	int status;
	const char *text;
};
extern const struct s3_code_info s3_code_info[S3_CODE_COUNT];

/* Fills e (unless NULL) with a sentence that replaces the row's, and returns the code. */
enum s3_code s3_say(struct err *e, enum s3_code code, const char *fmt, ...) printf_like(3, 4);
/* For callers that know only struct err: 0, or -1 with e set to the kind that fits the code. `what` names the thing. */
int s3_code_to_err(enum s3_code code, struct err *e, const char *fmt, ...) printf_like(3, 4);
