-- A database of schema 0001 as a worker left it: one live job, one finished, one cancelled.
BEGIN;
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num));
INSERT INTO alembic_version VALUES('0001');
CREATE TABLE jobs (
	"key" INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	worker TEXT NOT NULL,
	lease TEXT NOT NULL,
	delivery INTEGER NOT NULL,
	api_id TEXT NOT NULL,
	state TEXT NOT NULL,
	version INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	run INTEGER NOT NULL,
	told TEXT NOT NULL,
	gone BOOLEAN NOT NULL,
	spec TEXT NOT NULL,
	facts TEXT NOT NULL,
	created_at REAL NOT NULL,
	updated_at REAL NOT NULL,
	CONSTRAINT one_row_per_lease UNIQUE (worker, lease, delivery)
);
INSERT INTO jobs VALUES(1,'w','7/70/2026-01-01',1,'7','finished',5,0,1,'finished',0,'{"id": "7", "app": {"cmd": ["true"], "env": null}, "handler": {"image_url": "busybox", "files_up": {"output": "out"}}, "meta": {"job_id": 70, "date_created": "2026-01-01"}, "hardware": {}}','{"image_id": "sha256:1", "exit": {"code": 0}}',100.0,104.0);
INSERT INTO jobs VALUES(2,'w','8/80/2026-01-01',1,'8','cancelled',2,0,1,'preprocessing',1,'{"id": "8", "app": {}, "handler": {"image_url": "busybox"}, "meta": {"job_id": 80, "date_created": "2026-01-01"}, "hardware": {}}','{}',101.0,105.0);
INSERT INTO jobs VALUES(3,'w','9/90/2026-01-01',1,'9','running',3,1,1,'running',0,'{"id": "9", "app": {}, "handler": {"image_url": "busybox"}, "meta": {"job_id": 90, "date_created": "2026-01-01"}, "hardware": {}}','{"image_id": "sha256:2", "run": {"name": "jobfetcher-w-9-1", "id": "abc"}}',102.0,106.0);
CREATE TABLE moves (
	id INTEGER NOT NULL,
	job_key INTEGER NOT NULL,
	at REAL NOT NULL,
	source TEXT,
	target TEXT NOT NULL,
	because TEXT,
	run INTEGER NOT NULL,
	attempts INTEGER NOT NULL,
	detail TEXT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO moves VALUES(1,3,102.0,NULL,'fetched',NULL,1,0,'');
INSERT INTO moves VALUES(2,3,103.0,'fetched','downloading','accepted',1,1,'');
INSERT INTO moves VALUES(3,3,106.0,'downloading','running','downloaded',1,1,'');
CREATE TABLE outbox (
	id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
	job_key INTEGER NOT NULL,
	status TEXT NOT NULL,
	detail TEXT NOT NULL,
	queued_at REAL NOT NULL,
	sent_at REAL,
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO outbox VALUES(1,1,'finished','',104.0,104.5);
INSERT INTO outbox VALUES(2,3,'preprocessing','',102.0,102.5);
INSERT INTO outbox VALUES(3,3,'running','',106.0,NULL);
CREATE TABLE files (
	job_key INTEGER NOT NULL,
	direction TEXT NOT NULL,
	kind TEXT NOT NULL,
	path TEXT NOT NULL,
	size INTEGER NOT NULL,
	sha256 TEXT NOT NULL,
	at REAL NOT NULL,
	PRIMARY KEY (job_key, direction, kind, path),
	FOREIGN KEY(job_key) REFERENCES jobs ("key")
);
INSERT INTO files VALUES(3,'down','input','data/a.tif',12,'00',102.9);
CREATE INDEX ix_jobs_api_id ON jobs (api_id);
CREATE INDEX jobs_live ON jobs (worker, "key") WHERE state IN ('downloading', 'fetched', 'running', 'uploading');
CREATE INDEX ix_moves_job_key ON moves (job_key);
CREATE INDEX ix_outbox_job_key ON outbox (job_key);
CREATE INDEX outbox_unsent ON outbox (job_key, id) WHERE sent_at IS NULL;
COMMIT;
