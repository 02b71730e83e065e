CREATE TABLE training_job (
 n INTEGER PRIMARY KEY AUTOINCREMENT,
 id TEXT NOT NULL UNIQUE,
 name TEXT NOT NULL,
 name_lower TEXT NOT NULL UNIQUE,
 arn TEXT NOT NULL,
 state TEXT NOT NULL CHECK (state IN ('STARTING','PENDING','LAUNCHING','ADMITTED','DOWNLOADING','TRAINING','UPLOADING','SALVAGING','STOPPING','EXPIRING','COMPLETED','FAILED','STOPPED','MAX_RUNTIME')),
 status TEXT NOT NULL GENERATED ALWAYS AS (CASE state WHEN 'STARTING' THEN 'InProgress' WHEN 'PENDING' THEN 'InProgress' WHEN 'LAUNCHING' THEN 'InProgress' WHEN 'ADMITTED' THEN 'InProgress' WHEN 'DOWNLOADING' THEN 'InProgress' WHEN 'TRAINING' THEN 'InProgress' WHEN 'UPLOADING' THEN 'InProgress' WHEN 'SALVAGING' THEN 'InProgress' WHEN 'STOPPING' THEN 'Stopping' WHEN 'EXPIRING' THEN 'Stopping' WHEN 'COMPLETED' THEN 'Completed' WHEN 'FAILED' THEN 'Failed' WHEN 'STOPPED' THEN 'Stopped' WHEN 'MAX_RUNTIME' THEN 'Stopped' END) STORED,
 last_fact INTEGER NOT NULL DEFAULT 0,
 created_ms INTEGER NOT NULL,
 placed_ms INTEGER NOT NULL DEFAULT 0,
 started_ms INTEGER NOT NULL DEFAULT 0,
 ended_ms INTEGER NOT NULL DEFAULT 0,
 modified_ms INTEGER NOT NULL,
 cpus REAL NOT NULL DEFAULT 0,
 memory_bytes INTEGER NOT NULL DEFAULT 0,
 training_plan TEXT,
 needs TEXT NOT NULL,
 failure_reason TEXT,
 exit TEXT,
 image_digest TEXT
);
CREATE INDEX training_job_by_creation ON training_job (created_ms, n, status, modified_ms, name, training_plan);
CREATE INDEX training_job_by_name ON training_job (name_lower, n, status, created_ms, modified_ms, name, training_plan);
CREATE INDEX training_job_by_status ON training_job (status, created_ms, n, modified_ms, name, training_plan);
CREATE TABLE training_job_text (
 n INTEGER PRIMARY KEY,
 echo TEXT NOT NULL,
 request TEXT NOT NULL
);
CREATE TABLE transition (
 job INTEGER NOT NULL,
 seq INTEGER NOT NULL,
 status TEXT NOT NULL,
 start_ms INTEGER NOT NULL,
 end_ms INTEGER,
 message TEXT NOT NULL,
 PRIMARY KEY (job, seq)
) WITHOUT ROWID;
CREATE TABLE tag (
 n INTEGER PRIMARY KEY,
 arn TEXT NOT NULL,
 key TEXT NOT NULL,
 value TEXT NOT NULL,
 UNIQUE (arn, key)
);
CREATE TABLE cleanup (
 id TEXT PRIMARY KEY,
 remove INTEGER NOT NULL
) WITHOUT ROWID;
