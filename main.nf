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

// Stops with all that is wrong with the parameters before a task exists. Goes through sh, so that a
// missing python3 is a status and not an exception.
def checkParams(values) {
    def given = values.findAll { _name, value -> value != null }.collectEntries { name, value -> [name, value.toString()] }
    def command = ['sh', '-c', 'exec python3 "$0" "$@"', "${projectDir}/bin/check_params.py", "${projectDir}/nextflow_schema.json"]
    def problems = new StringBuilder()
    def check = (command + groovy.json.JsonOutput.toJson(given)).execute()
    check.waitForProcessOutput(new StringBuilder(), problems)
    if (check.exitValue() == 127) {
        log.warn("the parameters were not checked: there is no python3 on this machine")
    }
    else if (check.exitValue() != 0) {
        error(problems.toString().trim())
    }
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
        VIREMBED(
            file(params.input, glob: false),
            [
                window: params.window.toString().toInteger(),
                rules: params.rules,
                genetic_code: params.genetic_code.toString().toInteger(),
                duplicate_ids: params.duplicate_ids,
                min_record_bp: params.min_record_bp.toString().toInteger(),
                esm2_chunk_residues: params.esm2_chunk_residues.toString().toLong(),
                dnaberts_chunk_bp: params.dnaberts_chunk_bp.toString().toLong(),
            ],
            [
                ['esm2', file(params.esm2_weights, glob: false)],
                ['dnaberts', file(params.dnaberts_weights, glob: false)],
            ],
        )
    }

    workflow.onComplete = {
        def collected = workflow.stats.processes.find { process -> process.name.tokenize(':').last() == 'COLLECT' }
        def number = collected ? collected.succeeded + collected.cached : 0
        def out = file(params.outdir ?: '.').toUriString()
        if (workflow.success && collected) {
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
