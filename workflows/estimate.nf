include { DOCTOR } from '../modules/doctor'
include { PLAN } from '../modules/plan'

// Free bytes where a local directory is or will be; null elsewhere.
def freeBytes(dir) {
    if (dir.toUri().scheme != 'file') {
        return null
    }
    return dir.exists() ? java.nio.file.Files.getFileStore(dir).usableSpace : freeBytes(dir.parent)
}

// The free space beside the needed one, and what to do where it is not enough.
def spaceText(total, places) {
    return places
        .collect { need, dir -> [total[need] as Long, dir, freeBytes(dir)] }
        .findAll { _needed, _dir, free -> free != null }
        .collect { needed, dir, free ->
            def text = "free       ${String.format('%,.1f', free / 1e9d)} GB in ${dir}"
            free < needed ? "${text}: NOT ENOUGH. Make room, or choose another directory" : text
        }
        .join('\n')
}

// What the run will take, shown in the log; and the proof that the device is fit for it.
workflow ESTIMATE {
    take:
    workloads // JSON of each sample
    cards // [esm2 card, dnaberts card]
    options // map: outdir, gpu, doctor, residues

    main:
    proof = channel.value(true)
    measured = channel.value([])
    if (options.doctor) {
        DOCTOR()
        proof = DOCTOR.out.map { _file -> true }
        measured = DOCTOR.out.map { file -> [file] }
    }
    PLAN(workloads.collectFile(name: 'workloads.json', sort: { file -> file.name }), cards, measured, options.gpu ?: '', options.residues)
    PLAN.out.table
        .combine(PLAN.out.total)
        .subscribe { table, total ->
            def needed = new groovy.json.JsonSlurper().parseText(total.text).total
            log.info("${table}${spaceText(needed, [work_bytes: workDir, result_bytes: options.outdir])}\n")
        }

    // only what was measured on this device is held against what comes
    plan = options.doctor ? PLAN.out.total.map { file -> [file] } : channel.value([])

    emit:
    proof // true once the device is known to be fit
    plan // [plan.json], or [] where there is none to compare with
}
