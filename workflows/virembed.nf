include { CHECK } from '../modules/check'
include { SPLIT } from '../modules/split'
include { EMBED_ESM2 } from '../modules/embed_esm2'
include { EMBED_DNABERTS } from '../modules/embed_dnaberts'
include { COLLECT } from '../modules/collect'
include { CLASSIFY } from '../modules/classify'
include { RECORD_MEANS } from '../modules/record_means'
include { REPORT } from '../modules/report'
include { MODELS ; fingerprint } from './models'
include { ESTIMATE } from './estimate'
include { cells ; ranges ; sheetFiles } from './sheet'

workflow VIREMBED {
    take:
    sheet // path
    rules // map of the options of SPLIT
    weights // [[model, path], ...]: converted directories, or what is still to be converted
    store // directory for what is converted, shared by all runs; null: the work directory
    options // map: outdir, gpu, doctor, plan_only, classifier, allow_random, record_means

    main:
    staged = sheetFiles(sheet)
    CHECK(sheet, sheet.parent.toString(), ranges(staged.collect { line, _path -> line }), staged.collect { _line, path -> path }, rules.duplicate_ids)

    // [sample, [fasta, ...]]: a sample's tasks get its own values only, so that a change elsewhere in
    // the sheet leaves them as they are
    samples = CHECK.out
        // not splitCsv, which takes a quote in a path for an error
        .flatMap { csv -> csv.readLines().drop(1).collect { line -> cells(line) }.groupBy { row -> row[0] }.collect { sample, rows -> [sample, rows] } }
        .map { sample, rows -> tuple(sample, rows.collect { row -> file(row[1], glob: false) }) }

    // [sample, manifest, [esm2 chunk, ...], [dnaberts chunk, ...]]
    SPLIT(samples, rules)
    cut = options.plan_only ? channel.empty() : SPLIT.out.cut

    MODELS(weights, store, rules.window)
    ESTIMATE(SPLIT.out.workload, MODELS.out.cards, options)
    // No chunk is embedded before the device is proven, and that is no part of what a chunk is
    // embedded with.
    esm2 = MODELS.out.esm2.combine(ESTIMATE.out.proof).map { model, dir, _proof -> tuple(model, dir) }.first()
    dnaberts = MODELS.out.dnaberts.combine(ESTIMATE.out.proof).map { model, dir, _proof -> tuple(model, dir) }.first()

    // [sample, shard]
    EMBED_ESM2(cut.flatMap { sample, _manifest, proteins, _dna -> proteins.collect { chunk -> tuple(sample, chunk) } }, esm2)
    EMBED_DNABERTS(cut.flatMap { sample, _manifest, _proteins, dna -> dna.collect { chunk -> tuple(sample, chunk) } }, dnaberts)
    shards = EMBED_ESM2.out.shard.mix(EMBED_DNABERTS.out.shard)

    // [sample, [shard, ...]] as soon as the last shard of the sample is there; a sample without any
    // chunk goes round the grouping, which would lose it
    counted = cut.map { sample, _manifest, proteins, dna -> tuple(sample, proteins.size() + dna.size()) }
    grouped = counted
        .combine(shards, by: 0)
        .map { sample, num_chunks, shard -> tuple(groupKey(sample, num_chunks), shard) }
        .groupTuple()
        .map { key, files -> tuple(key.groupTarget, files) }
    bare = counted.filter { _sample, num_chunks -> num_chunks == 0 }.map { sample, _num_chunks -> tuple(sample, []) }

    COLLECT(
        cut.map { sample, manifest, _proteins, _dna -> tuple(sample, manifest) }.join(grouped.mix(bare)),
        MODELS.out.cards,
    )

    results = COLLECT.out.map { sample, result, _summary, _proteins -> tuple(sample, result) }
    // of the results without scores, so that a classifier makes no means anew
    if (options.record_means) {
        RECORD_MEANS(results)
    }
    if (options.classifier) {
        CLASSIFY(results, tuple(fingerprint(options.classifier), options.classifier), options.allow_random)
        results = CLASSIFY.out.map { sample, result, _tables -> tuple(sample, result) }
    }

    // all results of the run, and what the devices did; sorted, so that a resumed run finds its report
    summaries = COLLECT.out.map { _sample, _result, summary, _proteins -> summary }
    REPORT(
        results.map { _sample, result -> result }.mix(summaries).toSortedList { a, b -> a.name <=> b.name }.filter { files -> files },
        EMBED_ESM2.out.stats.mix(EMBED_DNABERTS.out.stats).toSortedList { a, b -> a.name <=> b.name },
        ESTIMATE.out.plan,
    )
    // how many samples, rows and losses
    REPORT.out.message.filter { text -> text.trim() }.view { text -> text.trim() }
}
