/* SPDX-License-Identifier: Apache-2.0 */
#include "blob/claim.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_S = 60 }; /* for somebody else's completion; clients do not wait longer */

/* Farther out a sparse file may not reach on common file systems. */
#define PLACE_MAX (UINT64_C(1) << 40)

struct active { /* one upload somebody is busy with */
	char upload[BLOB_ID_BYTES];
	uint64_t step;
	bool completing;
	unsigned *numbers, count;
	struct active *next;
};

struct blob_uploads {
	struct { /* hold mu to touch anything in here */
		pthread_mutex_t mu;
		pthread_cond_t completed;
		struct active *first;
	} shared;
};

struct blob_uploads *blob_uploads_new(void)
{
	struct blob_uploads *u = xcalloc(1, sizeof(*u));

	pthread_mutex_init(&u->shared.mu, NULL);
	pthread_cond_init(&u->shared.completed, NULL);
	return u;
}

void blob_uploads_free(struct blob_uploads *u)
{
	if (!u)
		return;
	must(!u->shared.first);
	pthread_cond_destroy(&u->shared.completed);
	pthread_mutex_destroy(&u->shared.mu);
	free(u);
}

static struct active **find_locked(struct blob_uploads *u, const char *upload)
{
	struct active **at = &u->shared.first;

	while (*at && strcmp((*at)->upload, upload))
		at = &(*at)->next;
	return at;
}

static struct active *get_locked(struct blob_uploads *u, const char *upload)
{
	struct active **at = find_locked(u, upload);

	if (!*at) {
		*at = xcalloc(1, sizeof(**at));
		memcpy((*at)->upload, upload, BLOB_ID_BYTES);
	}
	return *at;
}

static void put_locked(struct active **at)
{
	struct active *a = *at;

	if (a->count || a->completing)
		return;
	*at = a->next;
	free(a->numbers);
	free(a);
}

bool claim_take(struct blob_uploads *u, const char *upload, unsigned number)
{
	struct active *a;
	bool free_to_take;

	pthread_mutex_lock(&u->shared.mu);
	a = get_locked(u, upload);
	free_to_take = !a->completing;
	for (unsigned i = 0; i < a->count; i++)
		free_to_take &= a->numbers[i] != number;
	if (free_to_take) {
		a->numbers = xrealloc(a->numbers, (a->count + 1) * sizeof(*a->numbers));
		a->numbers[a->count++] = number;
	}
	pthread_mutex_unlock(&u->shared.mu);
	return free_to_take;
}

bool claim_place(struct blob_uploads *u, const char *upload, unsigned number, uint64_t length, uint64_t step,
                 uint64_t *ret_at)
{
	struct active *a;
	bool fits;

	pthread_mutex_lock(&u->shared.mu);
	a = *find_locked(u, upload);
	must(a);
	if (!a->step)
		a->step = step ? step : length >= BLOB_PART_MIN ? length : 0;
	fits = a->step && length <= a->step && (number - 1) * a->step + length <= PLACE_MAX;
	if (fits)
		*ret_at = (number - 1) * a->step;
	pthread_mutex_unlock(&u->shared.mu);
	return fits;
}

void claim_drop(struct blob_uploads *u, const char *upload, unsigned number)
{
	struct active **at, *a;

	pthread_mutex_lock(&u->shared.mu);
	at = find_locked(u, upload);
	a = *at;
	must(a);
	for (unsigned i = 0; i < a->count; i++)
		if (a->numbers[i] == number) {
			a->numbers[i] = a->numbers[--a->count];
			break;
		}
	put_locked(at);
	pthread_mutex_unlock(&u->shared.mu);
}

bool claim_completion(struct blob_uploads *u, const char *upload, bool *ret_alone)
{
	struct timespec until;
	struct active *a;
	bool ok;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&u->shared.mu);
	/* Looked up anew after each wait: the entry goes when nobody is busy with the upload any more. */
	while ((a = get_locked(u, upload))->completing && rc == 0)
		rc = pthread_cond_timedwait(&u->shared.completed, &u->shared.mu, &until);
	ok = !a->completing;
	a->completing = true;
	*ret_alone = a->count == 0;
	pthread_mutex_unlock(&u->shared.mu);
	return ok;
}

void claim_completed(struct blob_uploads *u, const char *upload)
{
	struct active **at;

	pthread_mutex_lock(&u->shared.mu);
	at = find_locked(u, upload);
	must(*at);
	(*at)->completing = false;
	put_locked(at);
	pthread_cond_broadcast(&u->shared.completed);
	pthread_mutex_unlock(&u->shared.mu);
}
