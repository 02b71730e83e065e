// The newest JavaScript SDK, aimed by AWS_ENDPOINT_URL alone: a job from upload to model. TAP on stdout.
// SPDX-License-Identifier: Apache-2.0
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import * as sm from '@aws-sdk/client-sagemaker';
import * as s3 from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { STSClient, GetCallerIdentityCommand } from '@aws-sdk/client-sts';
import * as cwl from '@aws-sdk/client-cloudwatch-logs';
import { CloudWatchClient, GetMetricDataCommand, GetMetricStatisticsCommand, ListMetricsCommand, PutMetricDataCommand } from '@aws-sdk/client-cloudwatch';
import { AwsQueryProtocol, AwsSmithyRpcV2CborProtocol } from '@aws-sdk/core/protocols';

const endpoint = process.env.AWS_ENDPOINT_URL;
const jobs = new sm.SageMakerClient({ maxAttempts: 1 });
const store = new s3.S3Client({ maxAttempts: 1, forcePathStyle: true });
const tests = [];
const test = (name, run) => tests.push({ name, run });
const wait = async (name) => {
	for (let i = 0; i < 600; i++) {
		const d = await jobs.send(new sm.DescribeTrainingJobCommand({ TrainingJobName: name }));
		if (['Completed', 'Failed', 'Stopped'].includes(d.TrainingJobStatus)) return d;
		await new Promise((r) => setTimeout(r, 50));
	}
	throw new Error(`${name} does not end`);
};
const request = (name, script, extra = {}) => ({
	TrainingJobName: name, RoleArn: 'arn:aws:iam::000000000000:role/r',
	AlgorithmSpecification: { TrainingImage: 'busy', TrainingInputMode: 'File' },
	HyperParameters: { script }, OutputDataConfig: { S3OutputPath: 's3://js-bucket/out/', CompressionType: 'GZIP' },
	ResourceConfig: { InstanceType: 'ml.m5.large', InstanceCount: 1, VolumeSizeInGB: 1 },
	StoppingCondition: { MaxRuntimeInSeconds: 60 }, ...extra });

test('sts tells an assumed role', async () => {
	const who = await new STSClient({}).send(new GetCallerIdentityCommand({}));
	assert.match(who.Arn, /^arn:aws:sts::000000000000:assumed-role\//);
});
test('s3: strings, streams, multipart, ranges, delete', async () => {
	await store.send(new s3.CreateBucketCommand({ Bucket: 'js-bucket' }));
	await store.send(new s3.PutObjectCommand({ Bucket: 'js-bucket', Key: 'in/é ü//x', Body: 'text', Metadata: { k: 'v' } }));
	const got = await store.send(new s3.GetObjectCommand({ Bucket: 'js-bucket', Key: 'in/é ü//x' }));
	assert.equal(await got.Body.transformToString(), 'text');
	assert.equal(got.Metadata.k, 'v');
	await store.send(new s3.DeleteObjectsCommand({ Bucket: 'js-bucket', Delete: { Objects: [{ Key: 'in/é ü//x' }] } }));
	const big = Buffer.alloc(12 << 20, 'abcdefg');
	await new Upload({ client: store, params: { Bucket: 'js-bucket', Key: 'big', Body: Readable.from([big]) }, partSize: 5 << 20 }).done();
	const part = await store.send(new s3.GetObjectCommand({ Bucket: 'js-bucket', Key: 'big', Range: 'bytes=5242879-5242890' }));
	assert.equal(await part.Body.transformToString(), big.subarray(5242879, 5242891).toString());
	await store.send(new s3.PutObjectCommand({ Bucket: 'js-bucket', Key: 'in/a', Body: Readable.from(['str', 'eam']), ContentLength: 6 }));
	const list = await store.send(new s3.ListObjectsV2Command({ Bucket: 'js-bucket', Prefix: 'in/' }));
	assert.deepEqual(list.Contents.map((o) => o.Key), ['in/a']);
});
test('a job from upload to model', async () => {
	const { TrainingJobArn } = await jobs.send(new sm.CreateTrainingJobCommand(request('js-1',
		'cp /opt/ml/input/data/train/a /opt/ml/model/a; echo from the trainer', {
			InputDataConfig: [{ ChannelName: 'train', DataSource: { S3DataSource: { S3DataType: 'S3Prefix', S3Uri: 's3://js-bucket/in/' } } }] })));
	assert.match(TrainingJobArn, /training-job\/js-1$/);
	const d = await wait('js-1');
	assert.equal(d.TrainingJobStatus, 'Completed', d.FailureReason);
	assert.equal(d.ModelArtifacts.S3ModelArtifacts, 's3://js-bucket/out/js-1/output/model.tar.gz');
	assert.equal(d.OutputDataConfig.CompressionType, 'GZIP');
	assert.ok(d.CreationTime instanceof Date && d.TrainingEndTime >= d.CreationTime);
	await store.send(new s3.HeadObjectCommand({ Bucket: 'js-bucket', Key: 'out/js-1/output/model.tar.gz' }));
	const logs = new cwl.CloudWatchLogsClient({});
	const { logStreams } = await logs.send(new cwl.DescribeLogStreamsCommand({ logGroupName: '/aws/sagemaker/TrainingJobs', logStreamNamePrefix: 'js-1/' }));
	const { events } = await logs.send(new cwl.GetLogEventsCommand({ logGroupName: '/aws/sagemaker/TrainingJobs', logStreamName: logStreams[0].logStreamName, startFromHead: true }));
	assert.equal(events.at(-1).message, 'from the trainer');
});
test('CloudWatch Logs: put, pages both ways, searches, streams', async () => {
	const logs = new cwl.CloudWatchLogsClient({ maxAttempts: 1 });
	const logGroupName = '/js/logs', logStreamName = 'one', now = Date.now();
	await logs.send(new cwl.CreateLogGroupCommand({ logGroupName }));
	await logs.send(new cwl.CreateLogStreamCommand({ logGroupName, logStreamName }));
	await logs.send(new cwl.CreateLogStreamCommand({ logGroupName, logStreamName: 'two' }));
	const want = Array.from({ length: 25 }, (_, i) => `{"step": ${i}, "text": "é\\t${i % 2 ? 'odd' : 'even'}"}`);
	const { rejectedLogEventsInfo } = await logs.send(new cwl.PutLogEventsCommand({ logGroupName, logStreamName, logEvents: want.map((message, i) => ({ message, timestamp: now + i })) }));
	assert.equal(rejectedLogEventsInfo, undefined);
	const got = [], back = [];
	let pages = 0, token;
	for await (const page of cwl.paginateGetLogEvents({ client: logs, pageSize: 10, stopOnSameToken: true }, { logGroupName, logStreamName, startFromHead: true })) {
		got.push(...page.events);
		pages++;
	}
	assert.deepEqual(got.map((e) => [e.timestamp, e.message]), want.map((message, i) => [now + i, message]));
	assert.ok(pages >= 3 && pages <= 5, `${pages} pages`);
	for (;;) {
		const page = await logs.send(new cwl.GetLogEventsCommand({ logGroupName, logStreamName, limit: 10, nextToken: token }));
		back.unshift(...page.events.map((e) => e.message));
		if (page.nextBackwardToken === token) break;
		token = page.nextBackwardToken;
	}
	assert.deepEqual(back, want);
	const found = [];
	for await (const page of cwl.paginateFilterLogEvents({ client: logs, pageSize: 4 }, { logGroupName, filterPattern: '{ $.step >= 10 && $.text = "*odd" }' }))
		found.push(...page.events);
	assert.deepEqual(found.map((e) => JSON.parse(e.message).step), [11, 13, 15, 17, 19, 21, 23]);
	assert.ok(found.every((e) => e.logStreamName === 'one' && e.eventId));
	const { logStreams } = await logs.send(new cwl.DescribeLogStreamsCommand({ logGroupName }));
	assert.deepEqual(logStreams.map((x) => [x.logStreamName, x.firstEventTimestamp, x.lastEventTimestamp]), [['one', now, now + 24], ['two', undefined, undefined]]);
	await assert.rejects(logs.send(new cwl.GetLogEventsCommand({ logGroupName, logStreamName: 'none' })), { name: 'ResourceNotFoundException' });
	await logs.send(new cwl.DeleteLogGroupCommand({ logGroupName }));
});
test('the waiter and the paginator of the SDK', async () => {
	await jobs.send(new sm.CreateTrainingJobCommand(request('js-2', 'true')));
	const got = await sm.waitUntilTrainingJobCompletedOrStopped({ client: jobs, maxWaitTime: 60, minDelay: 1, maxDelay: 1 }, { TrainingJobName: 'js-2' });
	assert.equal(got.state, 'SUCCESS');
	const names = [];
	for await (const page of sm.paginateListTrainingJobs({ client: jobs, pageSize: 1 }, { NameContains: 'js-' }))
		names.push(...page.TrainingJobSummaries.map((j) => j.TrainingJobName));
	assert.deepEqual(names.sort(), ['js-1', 'js-2']);
});
test('errors carry the name and the message of the service', async () => {
	await assert.rejects(jobs.send(new sm.DescribeTrainingJobCommand({ TrainingJobName: 'nobody' })), { name: 'ValidationException', message: 'Requested resource not found.' });
	await assert.rejects(jobs.send(new sm.CreateTrainingJobCommand(request('js-1', 'true'))), { name: 'ResourceInUse' });
	await assert.rejects(jobs.send(new sm.CreateTrainingJobCommand({ TrainingJobName: 'js-3', ResourceConfig: { InstanceCount: '1' } })), { name: 'SerializationException' });
	await assert.rejects(jobs.send(new sm.ListModelMetadataCommand({})), { name: 'NotImplementedException' });
});

// JSON 1.0 is its default; CBOR and query when asked for. A body of 10240 bytes and more is sent as a gzip file, but not in
// CBOR: there this version announces the length of what it was before, and waits for ever.
for (const [name, config] of [['JSON', {}], ['CBOR', { protocol: AwsSmithyRpcV2CborProtocol, disableRequestCompression: true }], ['query', { protocol: AwsQueryProtocol }]])
	test(`CloudWatch in ${name}`, async () => {
		const cw = new CloudWatchClient({ maxAttempts: 1, ...config });
		const start = new Date(Math.floor(Date.now() / 60000) * 60000 - 600000), end = new Date(+start + 300000);
		const Namespace = `js/${name}`, MetricName = 'm';
		const at = (i) => new Date(+start + 60000 * i);
		await cw.send(new PutMetricDataCommand({ Namespace, MetricData: [0.1, 0.2, 0.3].map((Value, i) => ({ MetricName, Value, Timestamp: at(i) })) }));
		await cw.send(new PutMetricDataCommand({ Namespace, MetricData: Array.from({ length: 400 }, (_, i) => ({ MetricName: 'many', Value: i, Timestamp: start, Unit: 'Count' })) }));
		const got = await cw.send(new GetMetricDataCommand({ StartTime: start, EndTime: end, ScanBy: 'TimestampAscending', MetricDataQueries: [
			{ Id: 'm1', MetricStat: { Metric: { Namespace, MetricName }, Period: 60, Stat: 'Average' } },
			{ Id: 'e1', Expression: 'm1 * 10', Label: 'ten' }] }));
		assert.deepEqual(got.MetricDataResults.map((r) => [r.Id, r.Label, r.StatusCode]), [['m1', 'm', 'Complete'], ['e1', 'ten', 'Complete']]);
		assert.deepEqual(got.MetricDataResults[0].Values, [0.1, 0.2, 0.3]);
		assert.deepEqual(got.MetricDataResults[0].Timestamps.map(Number), [0, 1, 2].map((i) => +at(i)));
		const many = await cw.send(new GetMetricStatisticsCommand({ Namespace, MetricName: 'many', StartTime: start, EndTime: end, Period: 300, Statistics: ['Sum', 'SampleCount'] }));
		assert.deepEqual(many.Datapoints.map((p) => [p.Sum, p.SampleCount, p.Unit, +p.Timestamp]), [[79800, 400, 'Count', +start]]);
		const { Metrics } = await cw.send(new ListMetricsCommand({ Namespace }));
		assert.deepEqual(Metrics.map((m) => m.MetricName).sort(), ['m', 'many']);
		await assert.rejects(cw.send(new PutMetricDataCommand({ Namespace: 'AWS/x', MetricData: [{ MetricName, Value: 1 }] })), { name: /InvalidParameterValue/, message: 'The value AWS/x for parameter Namespace is invalid.' });
	});

let bad = 0, n = 0;
console.log(`1..${tests.length}`);
for (const { name, run } of tests) {
	try {
		await run();
		console.log(`ok ${++n} - ${name}`);
	} catch (e) {
		bad++;
		console.log(`not ok ${++n} - ${name}\n# ${String(e.stack || e).replaceAll('\n', '\n# ')}`);
	}
}
process.exit(bad ? 1 : 0);
