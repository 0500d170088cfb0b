#!/usr/bin/env nextflow

include { VIREMBED } from './workflows/virembed'

// A value of the command line is typed by the first parser and a string under the strict one.
def isTrue(value) {
    return value != null && value.toString().toBoolean()
}

def heading() {
    return "${workflow.manifest.name} ${workflow.manifest.version}"
}

// The command of this run with -resume; tools/nextflow says by NXF_CLI that it was the program.
def resumeCommand() {
    def program = (System.getenv('NXF_CLI') ?: 'nextflow').tokenize(' ').first()
    def command = workflow.commandLine.replaceFirst('^nextflow', program)
    return command.contains(' -resume') ? command : "${command} -resume"
}

// All parameters by group, from the schema, with the defaults in force.
def helpText(schema, values) {
    def groups = schema['$defs'].values().collect { group ->
        def lines = group.properties.findAll { _name, property -> !property.hidden }.collect { name, property ->
            def preset = values[name] == null || property.type == 'boolean' ? '' : " [${values[name]}]"
            "  --${name.padRight(22)} ${property.description}${preset}"
        }
        "${group.title}\n${lines.join('\n')}"
    }
    return "${heading()}\n${workflow.manifest.description}\n\n" +
        "nextflow run main.nf --input samples.csv --esm2_weights DIR --dnaberts_weights DIR --outdir results\n\n" +
        "${groups.join('\n\n')}\n\nOptions of Nextflow itself have one dash: -profile, -resume, -work-dir."
}

// Stops with what a program of bin/ finds wrong, before a task exists. Goes through sh, so that a
// missing python3 is a status and not an exception.
def checkBefore(program, arguments) {
    def command = ['sh', '-c', 'exec python3 "$0" "$@"', "${projectDir}/bin/${program}"] + arguments
    def problems = new StringBuilder()
    def check = command.execute()
    check.waitForProcessOutput(new StringBuilder(), problems)
    if (check.exitValue() == 127) {
        log.warn("${program} did not run: there is no python3 on this machine")
    }
    else if (check.exitValue() != 0) {
        error(problems.toString().trim())
    }
}

def checkParams(values) {
    def given = values.findAll { _name, value -> value != null }.collectEntries { name, value -> [name, value.toString()] }
    checkBefore('check_params.py', ["${projectDir}/nextflow_schema.json", groovy.json.JsonOutput.toJson(given)])
}

// What the profiles rely on: container engine and images, Slurm, or else the installed package.
def checkSite(values) {
    def site = [
        profiles: workflow.profile.tokenize(','),
        engine: workflow.containerEngine,
        images: [values.cpu_image, values.gpu_image],
        partition: values.slurm_partition,
        gpu_partition: values.slurm_gpu_partition,
        gpu_type: values.slurm_gpu_type,
        account: values.slurm_account,
        options: values.slurm_options,
    ]
    checkBefore('check_site.py', [groovy.json.JsonOutput.toJson(site)])
}

// With -profile gpu one task proves the device before chunks queue for it. By the name of the profile:
// 25.04 with the strict parser does not see a parameter that a profile sets.
def wantsDoctor(values) {
    def asked = isTrue(values.gpu_doctor) || workflow.profile.tokenize(',').contains('gpu')
    return asked && !(isTrue(values.plan_only) && values.gpu)
}

// The directory, made if need be: a container can only mount what is there.
def existing(directory) {
    directory.mkdirs()
    if (!directory.isDirectory()) {
        error("ERROR --weights_store: ${directory} cannot be made. Make it, or choose another directory.")
    }
    return directory
}

workflow {
    if (isTrue(params.help)) {
        log.info(helpText(new groovy.json.JsonSlurper().parseText(file("${projectDir}/nextflow_schema.json").text), params))
    }
    else if (isTrue(params.version)) {
        log.info(heading())
    }
    else {
        checkParams(params)
        if (!workflow.stubRun) {
            checkSite(params)
        }
        VIREMBED(
            file(params.input, glob: false),
            [
                window: params.window.toString().toInteger(),
                rules: params.rules,
                genetic_code: params.genetic_code.toString().toInteger(),
                duplicate_ids: params.duplicate_ids,
                min_record_bp: params.min_record_bp.toString().toInteger(),
                max_contig_bp: params.max_contig_bp.toString().toInteger(),
                esm2_chunk_residues: params.esm2_chunk_residues.toString().toLong(),
                dnaberts_chunk_bp: params.dnaberts_chunk_bp.toString().toLong(),
            ],
            [
                ['esm2', file(params.esm2_weights, glob: false)],
                ['dnaberts', file(params.dnaberts_weights, glob: false)],
            ],
            params.weights_store ? existing(file(params.weights_store, glob: false)) : null,
            [
                outdir: file(params.outdir),
                gpu: params.gpu,
                doctor: wantsDoctor(params),
                plan_only: isTrue(params.plan_only),
                residues: isTrue(params.residues),
                classifier: params.classifier ? file(params.classifier, glob: false) : null,
                allow_random: isTrue(params.allow_random),
                record_means: isTrue(params.record_means),
            ],
        )
    }

    workflow.onComplete = {
        def collected = workflow.stats.processes.find { process -> process.name.tokenize(':').last() == 'COLLECT' }
        def number = collected ? collected.succeeded + collected.cached : 0
        def out = file(params.outdir ?: '.').toUriString()
        if (workflow.success && number > 0) {
            log.info("${number} samples are in ${out} (${workflow.duration}), the report is ${out}/report.html")
        }
        else if (number > 0) {
            log.info("${number} samples were finished before. A report of them:\n\n    virembed report ${out} --samples ${params.input} --out report.html\n")
        }
    }
    workflow.onError = {
        log.info("What was finished is kept. When the cause is mended, go on in ${workflow.launchDir} with:\n\n    ${resumeCommand()}\n")
    }
}
