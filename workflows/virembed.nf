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

// [sample, chunk, its tokens and pairs of tokens] of each chunk of a model.
def withWork(sample, workload, model, chunks) {
    def counted = new groovy.json.JsonSlurper().parseText(workload.text).models[model]
    return chunks
        .toSorted { a, b -> a.name <=> b.name }
        .withIndex()
        .collect { chunk, number ->
            tuple(sample, chunk, [tokens: counted.chunk_tokens[number] as Long, pairs: counted.chunk_pairs[number] as Long])
        }
}

workflow VIREMBED {
    take:
    sheet // path
    rules // map of the options of SPLIT
    weights // [[model, path], ...]: converted directories, or what is still to be converted
    store // directory for what is converted, shared by all runs; null: the work directory
    options // map: outdir, gpu, doctor, plan_only, residues, classifier, allow_random, record_means

    main:
    staged = sheetFiles(sheet)
    CHECK(sheet, sheet.parent.toString(), ranges(staged.collect { line, _path -> line }), staged.collect { _line, path -> path }, rules.duplicate_ids)

    // [sample, type, [fasta, ...]]: a sample's tasks get its own values only, so that a change
    // elsewhere in the sheet leaves them as they are
    samples = CHECK.out
        // not splitCsv, which takes a quote in a path for an error
        .flatMap { csv -> csv.readLines().drop(1).collect { line -> cells(line) }.groupBy { row -> row[0] }.collect { sample, rows -> [sample, rows] } }
        .map { sample, rows -> tuple(sample, rows[0][2], rows.collect { row -> file(row[1], glob: false) }) }

    // [sample, type, manifest, workload, [esm2 chunk, ...], [dnaberts chunk, ...]]
    SPLIT(samples, rules)
    cut = options.plan_only ? channel.empty() : SPLIT.out

    MODELS(weights, store)
    ESTIMATE(SPLIT.out.map { _sample, _type, _manifest, workload, _proteins, _dna -> workload }, MODELS.out.cards, options)
    // No chunk is embedded before the device is proven, and that is no part of what a chunk is
    // embedded with. Where residues are not asked for, nothing of a task speaks of them.
    esm2 = MODELS.out.esm2.combine(ESTIMATE.out.proof)
        .map { model, dir, _proof -> tuple(options.residues ? model + [residues: true] : model, dir) }
        .first()
    dnaberts = MODELS.out.dnaberts.combine(ESTIMATE.out.proof).map { model, dir, _proof -> tuple(model, dir) }.first()

    // [sample, shard]
    EMBED_ESM2(cut.flatMap { sample, _type, _manifest, workload, proteins, _dna -> withWork(sample, workload, 'esm2', proteins) }, esm2)
    EMBED_DNABERTS(cut.flatMap { sample, _type, _manifest, workload, _proteins, dna -> withWork(sample, workload, 'dnaberts', dna) }, dnaberts)
    shards = EMBED_ESM2.out.shard.mix(EMBED_DNABERTS.out.shard, EMBED_ESM2.out.residues)

    // [sample, [shard or residues, ...]] as soon as the last file of the sample is there; a sample
    // without any chunk goes round the grouping, which would lose it
    counted = cut.map { sample, _type, _manifest, _workload, proteins, dna -> tuple(sample, proteins.size() * (options.residues ? 2 : 1) + dna.size()) }
    grouped = counted
        .combine(shards, by: 0)
        .map { sample, num_files, made -> tuple(groupKey(sample, num_files), made) }
        .groupTuple()
        .map { key, files -> tuple(key.groupTarget, files) }
    bare = counted.filter { _sample, num_files -> num_files == 0 }.map { sample, _num_files -> tuple(sample, []) }

    COLLECT(
        cut.map { sample, type, manifest, _workload, _proteins, _dna -> tuple(sample, type, manifest) }.join(grouped.mix(bare)),
        MODELS.out.cards,
        options.residues,
    )

    collected = COLLECT.out.result.map { sample, type, result, _summary, _proteins -> tuple(sample, type, result) }
    results = collected.map { sample, _type, result -> tuple(sample, result) }
    // of the results without scores, so that a classifier makes no means anew
    if (options.record_means) {
        RECORD_MEANS(results)
    }
    if (options.classifier) {
        // of records that were embedded whole there is nothing to classify
        CLASSIFY(
            collected.filter { _sample, type, _result -> type == 'windows' }.map { sample, _type, result -> tuple(sample, result) },
            tuple(fingerprint(options.classifier), options.classifier),
            options.allow_random,
        )
        results = CLASSIFY.out
            .map { sample, result, _tables -> tuple(sample, result) }
            .mix(collected.filter { _sample, type, _result -> type != 'windows' }.map { sample, _type, result -> tuple(sample, result) })
    }

    // all results of the run, and what the devices did; sorted, so that a resumed run finds its report
    summaries = COLLECT.out.result.map { _sample, _type, _result, summary, _proteins -> summary }
    REPORT(
        results.map { _sample, result -> result }.mix(summaries).toSortedList { a, b -> a.name <=> b.name }.filter { files -> files },
        EMBED_ESM2.out.stats.mix(EMBED_DNABERTS.out.stats).toSortedList { a, b -> a.name <=> b.name },
        ESTIMATE.out.plan,
    )
    // how many samples, rows and losses
    REPORT.out.message.filter { text -> text.trim() }.view { text -> text.trim() }
}
